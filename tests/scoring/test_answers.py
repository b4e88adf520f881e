"""Spans and null scores: hand-made windows, and every span tried one by one as the oracle."""

import math

import numpy as np
import pytest

from tinybert_jax.data import Example, GoldAnswer
from tinybert_jax.data.windows import Windows
from tinybert_jax.errors import UserError
from tinybert_jax.scoring import AnswerConfig, find_answers

CONTEXT = "ab cd ef gh ij kl mn op"  # token i of the context: characters 3i to 3i + 2
QUESTION_LEN = 2
BEGIN = QUESTION_LEN + 2  # [CLS] question [SEP]


def question(name: str, *golds: str, context: str = CONTEXT) -> Example:
    return Example(name, "?", context, tuple(GoldAnswer(gold, context.index(gold)) for gold in golds))


def make_windows(*parts: tuple[int, int, int]) -> Windows:
    """Windows over CONTEXT from (question index, first context token, number of context tokens)."""
    offsets, lengths = [], []
    for _, first, count in parts:
        lengths.append(BEGIN + count + 1)
        inner = [(3 * i, 3 * i + 2) for i in range(first, first + count)]
        offsets += [(-1, -1)] * BEGIN + inner + [(-1, -1)]
    zeros = np.zeros(len(parts), np.int32)
    return Windows(
        tokens=np.zeros(len(offsets), np.int32),
        offsets=np.array(offsets, np.int32),
        row_splits=np.cumsum([0, *lengths]),
        context_begin=np.full(len(parts), BEGIN, np.int32),
        example=np.array([part[0] for part in parts], np.int32),
        start=zeros,
        end=zeros,
    )


def make_logits(windows: Windows, *values: tuple[int, int, float, float]) -> np.ndarray:
    """Zeros but for (window, token of the context or -BEGIN for [CLS], start logit, end logit)."""
    logits = np.zeros((len(windows.tokens), 2), np.float32)
    for window, token, start, end in values:
        logits[windows.row_splits[window] + BEGIN + token] = start, end
    return logits


CLS = -BEGIN


def test_best_span_null_odds_and_offsets():
    windows = make_windows((0, 0, 5), (1, 2, 4))
    logits = make_logits(windows, (0, 1, 5, 0), (0, 3, 0, 4), (0, CLS, 1, 2), (1, 0, 2, 2), (1, CLS, 3, 4))
    answers = find_answers([question("a", "cd"), question("b")], windows, logits)
    assert answers.predictions == {"a": "cd ef gh", "b": ""}
    assert answers.null_odds == {"a": 3 - 9, "b": 7 - 4}
    assert answers.best_spans == {"a": "cd ef gh", "b": "ef"}
    assert answers.n_best["a"][0] == {"text": "cd ef gh", "score": 9.0, "start": 3, "end": 11}
    assert answers.n_best["b"][0] == {"text": "ef", "score": 4.0, "start": 6, "end": 8}


def test_question_and_separators_are_no_span():
    windows = make_windows((0, 0, 3))
    logits = make_logits(windows, (0, -1, 9, 9), (0, -3, 9, 9), (0, 3, 9, 9), (0, 2, 1, 1))
    answers = find_answers([question("a", "ab")], windows, logits)
    assert answers.predictions == {"a": "ef"}
    assert all(0 <= best["start"] < best["end"] <= 8 for best in answers.n_best["a"])


def test_end_never_before_start():
    windows = make_windows((0, 0, 4))
    logits = make_logits(windows, (0, 3, 9, 0), (0, 0, 0, 8))
    # The best start is the last token and the best end the first: they make no span.
    assert find_answers([question("a", "ab")], windows, logits).predictions == {"a": "gh"}


@pytest.mark.parametrize(
    ("max_answer_len", "text"), [(5, "ab cd ef gh ij"), (4, "ij"), (1, "ij"), (30, "ab cd ef gh ij")]
)
def test_max_answer_len_counts_tokens(max_answer_len, text):
    windows = make_windows((0, 0, 8))
    logits = make_logits(windows, (0, 0, 5, 0), (0, 4, 1, 6))
    config = AnswerConfig(max_answer_len=max_answer_len)
    assert find_answers([question("a", "ab")], windows, logits, config).predictions == {"a": text}


def test_null_score_is_the_lowest_of_the_windows():
    windows = make_windows((0, 0, 4), (0, 3, 4), (1, 0, 1))  # question b lets "no answer" be predicted
    logits = make_logits(windows, (0, CLS, 5, 5), (1, CLS, 1, 0), (0, 0, 1, 1), (1, 2, 2, 2))
    answers = find_answers([question("a", "ab"), question("b")], windows, logits)
    # The first window is sure that it holds no answer; the second sees one.
    assert answers.null_odds["a"] == 1 - 4
    assert answers.predictions["a"] == "kl"


@pytest.mark.parametrize(("threshold", "text"), [(2.9, ""), (3.0, "ab"), (4.0, "ab")])
def test_no_answer_iff_odds_exceed_the_threshold(threshold, text):
    windows = make_windows((0, 0, 2))
    logits = make_logits(windows, (0, CLS, 2, 3), (0, 0, 1, 1))
    answers = find_answers([question("a")], windows, logits, AnswerConfig(null_threshold=threshold))
    assert answers.null_odds == {"a": 3}
    assert answers.predictions == {"a": text}


@pytest.mark.parametrize(("no_answer", "text"), [("auto", ""), ("allow", ""), ("never", "cd")])
@pytest.mark.parametrize("golds", [(), ("ab",)], ids=["unanswerable", "answerable"])
def test_no_answer_is_a_setting_that_gold_answers_do_not_decide(no_answer, text, golds):
    windows = make_windows((0, 0, 2))
    logits = make_logits(windows, (0, CLS, 9, 9), (0, 1, 1, 1))
    answers = find_answers([question("a", *golds)], windows, logits, AnswerConfig(no_answer=no_answer))
    assert answers.predictions == {"a": text}
    assert answers.null_odds == {"a": 16}
    # What is never given takes no part in the choice: the second token, both and the first are left.
    never = no_answer == "never"
    np.testing.assert_array_equal(answers.options[0, :4], [-np.inf if never else 18, 2, 1, 0])


@pytest.mark.parametrize(
    ("setting", "has_unanswerable", "decided"),
    [
        ("auto", True, "allow"),
        ("auto", False, "never"),
        ("auto", None, "allow"),
        ("allow", False, "allow"),
        ("never", True, "never"),
    ],
)
def test_auto_follows_the_data(setting, has_unanswerable, decided):
    assert AnswerConfig(no_answer=setting).decided(has_unanswerable).no_answer == decided


def test_thresholds_are_finite():
    with pytest.raises(UserError, match="null_threshold must be a finite number, got nan"):
        AnswerConfig(null_threshold=float("nan"))


def test_context_without_tokens():
    windows = make_windows((0, 0, 0), (1, 0, 2))
    logits = make_logits(windows, (1, 0, 1, 1))
    answers = find_answers([question("a", context=" "), question("b", "ab")], windows, logits)
    assert answers.predictions == {"a": "", "b": "ab"}
    assert answers.n_best["a"] == []
    assert answers.null_odds["a"] > 1e30
    assert math.isfinite(answers.null_odds["a"])
    alone = find_answers([question("a", context="")], make_windows((0, 0, 0)), np.zeros((5, 2)))
    assert alone.predictions == {"a": ""}


def test_overlapping_windows_list_a_text_once():
    windows = make_windows((0, 0, 5), (0, 3, 5))  # both hold tokens 3 and 4
    logits = make_logits(windows, (0, 3, 2, 2), (1, 0, 3, 3), (1, 4, 1, 1))
    best = find_answers([question("a", "ab")], windows, logits, AnswerConfig(n_best=4)).n_best["a"]
    assert len(best) == len({candidate["text"] for candidate in best}) == 4
    assert best[0] == {"text": "gh", "score": 6.0, "start": 9, "end": 11}


def test_equal_scores_prefer_the_earlier_then_the_shorter():
    windows = make_windows((0, 0, 3))
    best = find_answers([question("a", "ab")], windows, make_logits(windows)).n_best["a"]
    assert [candidate["text"] for candidate in best] == ["ab", "ab cd", "ab cd ef", "cd", "cd ef", "ef"]


@pytest.mark.parametrize("block_spans", [1, 40, 1 << 21])
def test_against_every_span(monkeypatch, block_spans):
    monkeypatch.setattr("tinybert_jax.scoring.spans._BLOCK_SPANS", block_spans)
    rng = np.random.default_rng(0)
    parts = [(i // 2, int(rng.integers(0, 4)), int(rng.integers(1, 5))) for i in range(24)]
    parts = [parts[i] for i in rng.permutation(24)]
    windows = make_windows(*parts)
    logits = rng.normal(size=(len(windows.tokens), 2)).astype(np.float32)
    examples = [question(str(i), *(["ab"] if i % 3 else [])) for i in range(12)]
    config = AnswerConfig(n_best=5, max_answer_len=3)
    answers = find_answers(examples, windows, logits, config)

    for i, example in enumerate(examples):
        scores, nulls = {}, []
        for w, (owner, first, count) in enumerate(parts):
            if owner != i:
                continue
            row = logits[windows.row_splits[w] :]
            nulls.append(row[0, 0] + row[0, 1])
            for s in range(count):
                for e in range(s, min(count, s + 3)):
                    text = CONTEXT[3 * (first + s) : 3 * (first + e) + 2]
                    scores[text] = max(scores.get(text, -np.inf), row[BEGIN + s, 0] + row[BEGIN + e, 1])
        expected = sorted(scores, key=lambda text: -scores[text])
        found = answers.n_best[example.id]
        assert [best["text"] for best in found] == expected[:5]
        assert [best["score"] for best in found] == [scores[text] for text in expected[:5]]
        odds = min(nulls) - scores[expected[0]]
        assert answers.null_odds[example.id] == pytest.approx(odds, abs=1e-6)
        assert answers.predictions[example.id] == ("" if odds > 0 else expected[0])


@pytest.mark.usefixtures("unchecked_shapes")
def test_input_that_does_not_fit():
    windows = make_windows((0, 0, 2), (1, 0, 2))
    examples = [question("a"), question("b")]
    with pytest.raises(ValueError, match=r"\(total_tokens, 2\) = \(14, 2\), got \(14,\)"):
        find_answers(examples, windows, np.zeros(14))
    for wrong in (examples[:1], [*examples, question("c")]):
        with pytest.raises(ValueError, match="one of"):
            find_answers(wrong, windows, np.zeros((14, 2)))


def test_logits_that_are_not_finite():
    windows = make_windows((0, 0, 2), (1, 0, 2))
    logits = make_logits(windows, (1, 1, np.nan, 0))
    with pytest.raises(UserError, match="question b"):
        find_answers([question("a"), question("b")], windows, logits)


@pytest.mark.parametrize("setting", ["n_best", "max_answer_len"])
def test_config_is_checked(setting):
    with pytest.raises(UserError, match=f"{setting} must be at least 1, got 0"):
        AnswerConfig(**{setting: 0})
    with pytest.raises(UserError, match=f"{setting} must be at most 10000, got 1000000000"):
        AnswerConfig(**{setting: 10**9})

"""Agreement of two models, by hand."""

import math

import numpy as np
import pytest

from tests.scoring.test_answers import BEGIN, CLS, make_logits, make_windows, question
from tinybert_jax.data import Example
from tinybert_jax.distill.losses import soft_cross_entropy
from tinybert_jax.errors import UserError
from tinybert_jax.scoring import AnswerConfig, Said, agreement, as_golds, check_labelled, find_answers, squad_metrics
from tinybert_jax.scoring.agreement import divergence

CONTEXT = "ab cd ef ab gh"
EXAMPLES = [Example(name, "?", CONTEXT, (), is_labelled=False) for name in "abcd"]
WINDOWS = make_windows(*((i, 0, 5) for i in range(4)))


def said(*values, windows=WINDOWS) -> Said:
    """What a model of these logits says, see `make_logits`."""
    logits = make_logits(windows, *values)
    return Said(find_answers(EXAMPLES, windows, logits, AnswerConfig(no_answer="allow")), windows, logits)


SAME = (3, 2, 9, 9)  # "ef" to the fourth question
TEACHER = said((0, 0, 9, 9), (1, CLS, 9, 9), (2, 0, 9, 0), (2, 1, 0, 9), SAME)
STUDENT = said((0, 3, 9, 9), (1, CLS, 5, 5), (2, 1, 9, 9), SAME)


def test_the_same_answer_is_the_same_place_and_exact_is_the_same_text():
    figures = agreement(EXAMPLES, STUDENT, TEACHER)
    assert STUDENT.answers.predictions == {"a": "ab", "b": "", "c": "cd", "d": "ef"}
    assert TEACHER.answers.predictions == {"a": "ab", "b": "", "c": "ab cd", "d": "ef"}
    assert figures["total"] == 4
    assert figures["same_answer"] == 50.0  # "b" and "d": "ab" stands elsewhere
    assert figures["exact"] == 75.0
    assert figures["f1"] == pytest.approx(100 * (3 + 2 / 3) / 4)
    for name in ("same_answer", "exact", "f1", "kl"):
        low, high = figures[f"{name}_interval"]
        assert low <= figures[name] <= high
        assert low < high


def test_a_model_agrees_with_itself():
    figures = agreement(EXAMPLES, TEACHER, TEACHER)
    assert (figures["same_answer"], figures["exact"], figures["f1"], figures["kl"]) == (100.0, 100.0, 100.0, 0.0)
    assert figures["kl_interval"] == [0.0, 0.0]


def test_figures_are_those_of_the_teacher_s_answers_as_gold_ones():
    golds = as_golds(EXAMPLES, TEACHER.answers.predictions)
    metrics, figures = squad_metrics(golds, STUDENT.answers.predictions), agreement(EXAMPLES, STUDENT, TEACHER)
    assert {name: metrics[name] for name in ("exact", "f1", "total")} == {
        name: figures[name] for name in ("exact", "f1", "total")
    }
    assert [example.is_impossible for example in golds] == [False, True, False, False]


def test_divergence_of_a_uniform_teacher():
    windows = make_windows((0, 0, 3), (1, 0, 1))
    student, teacher = make_logits(windows, (0, 1, math.log(3), 0)), make_logits(windows)
    tokens = BEGIN + 4
    expected = math.log((tokens + 2) / tokens) - math.log(3) / tokens
    np.testing.assert_allclose(divergence(windows, student, teacher), [expected, 0], atol=1e-7)


def test_divergence_is_what_stage_2_calls_kl():
    rng = np.random.default_rng(0)
    windows = make_windows((0, 0, 5), (1, 0, 5))
    student, teacher = rng.normal(size=(2, len(windows.tokens), 2)).astype(np.float32)
    rows = [logits.reshape(2, -1, 2) for logits in (student, teacher)]
    mask = np.ones(rows[0].shape[:2], bool)
    kl = soft_cross_entropy(*rows, mask) - soft_cross_entropy(rows[1], rows[1], mask)
    assert divergence(windows, student, teacher).mean() == pytest.approx(float(kl), rel=1e-5)


def test_a_question_s_divergence_is_the_mean_of_its_windows():
    windows = make_windows(*((i, 0, 5) for i in range(4)), (3, 0, 5))
    teacher, student = said(windows=windows), said((4, 1, 1, 0), windows=windows)
    apart = divergence(windows, student.logits, teacher.logits)
    assert agreement(EXAMPLES, student, teacher)["kl"] == pytest.approx(apart[4] / 2 / 4)


def test_logits_of_other_tokens_are_not_compared():
    other = said(windows=make_windows((0, 0, 4), *((i, 0, 5) for i in range(1, 4))))
    figures = agreement(EXAMPLES, other, TEACHER)
    assert figures["kl"] is None and figures["kl_interval"] is None


def test_what_nobody_has_labelled_is_not_scored():
    with pytest.raises(UserError, match="questions without labels cannot be scored, got 4 of them, 'a' first"):
        squad_metrics(EXAMPLES, TEACHER.answers.predictions)
    check_labelled([question("a", "cd"), question("b")])

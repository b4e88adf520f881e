"""The metrics against a second implementation of the official rules, on generated data and on the real dev set."""

import gzip
import importlib.util
import json
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinybert_jax.data import Example, GoldAnswer, read_squad
from tinybert_jax.scoring import exact_score, f1_score, normalize_answer, question_scores, squad_metrics


def _second_metrics():
    path = Path(__file__).with_name("second_metrics.py")
    spec = importlib.util.spec_from_file_location("second_metrics", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


second = _second_metrics()

# What the rules turn on: articles in and out of words, punctuation that is deleted and that is not, white space of
# all kinds, characters whose lower case is longer, combining accents (which end a word), digits that are no ASCII.
PIECES = [
    *("a", "an", "the", "The", "AN", "A", "other", "cat", "Cat", "dogs"),
    *("1990", "²", "Élan", "Straße", "İ", "東京", "🙂"),
    *(" ", "  ", "\t", "\n", "\u00a0", "\u3000", "\u200b", "\x1c"),
    *("-", "'", ".", ",", "_", "$", "«", "»", "–", "’", "e\u0301", "a\u0301", "\u0301"),
]
TEXT = st.one_of(st.just(""), st.lists(st.sampled_from(PIECES), max_size=6).map("".join), st.text(max_size=6))


@st.composite
def files(draw):
    """(SQuAD as JSON, predictions, null odds, a threshold): odds in an order of their own, with ties."""
    golds = draw(st.lists(st.lists(TEXT, max_size=3), min_size=1, max_size=7))
    ids = [f"q{i}" for i in range(len(golds))]
    qas = [{"id": key, "answers": [{"text": text} for text in texts]} for key, texts in zip(ids, golds, strict=True)]
    cut = draw(st.integers(0, len(qas)))
    squad = {"data": [{"paragraphs": [{"qas": qas[:cut]}]}, {"paragraphs": [{"qas": qas[cut:]}]}]}
    # Half of the predictions come from a gold answer, else hardly one would be right.
    predictions = {
        key: draw(st.sampled_from(texts) if texts and draw(st.booleans()) else TEXT)
        for key, texts in zip(ids, golds, strict=True)
    }
    odd = st.one_of(st.sampled_from([-2, -0.5, 0.0, 0.5, 1]), st.floats(allow_nan=False))
    odds = {key: draw(odd) for key in draw(st.permutations([*ids, "of no question"]))}
    threshold = draw(st.one_of(st.sampled_from([*odds.values(), 0.0, 1.0]), st.floats(allow_nan=False)))
    return squad, predictions, odds, threshold


def examples_of(squad) -> list[Example]:
    qas = [qa for article in squad["data"] for paragraph in article["paragraphs"] for qa in paragraph["qas"]]
    return [Example(qa["id"], "?", "", tuple(GoldAnswer(gold["text"], -1) for gold in qa["answers"])) for qa in qas]


@given(TEXT, TEXT)
def test_texts_score_alike(gold, prediction):
    assert normalize_answer(gold).split() == second.words(gold)
    assert exact_score(gold, prediction) == (second.words(gold) == second.words(prediction))
    assert f1_score(gold, prediction) == second.f1(second.words(gold), second.words(prediction))


@settings(max_examples=400)
@given(files())
def test_every_figure_is_the_same_to_the_last_bit(case):
    squad, predictions, odds, threshold = case
    examples = examples_of(squad)
    for arguments in ((), (odds,), (odds, threshold), (None, threshold)):
        figures = squad_metrics(examples, predictions, *arguments)
        expected = second.metrics(squad, predictions, *arguments)
        assert list(figures.items()) == list(expected.items())


@given(files())
def test_the_figures_are_the_means_of_the_questions_scores(case):
    squad, predictions, odds, threshold = case
    examples = examples_of(squad)
    scores = question_scores(examples, predictions, odds, threshold)
    figures = squad_metrics(examples, predictions, odds, threshold)
    for name in ("exact", "f1"):
        assert list(scores[name]) == [example.id for example in examples]
        assert figures[name] == pytest.approx(100 * sum(scores[name].values()) / len(examples))


DEV = Path(__file__).parents[3] / "shared/data/squad-v2.0-dev.json.gz"
needs_dev = pytest.mark.skipif(not DEV.exists(), reason=f"needs the SQuAD 2.0 dev set at {DEV}")


@pytest.fixture(scope="module")
def dev():
    """The dev set, as examples and as JSON."""
    return read_squad(DEV, check_offsets=False), json.loads(gzip.decompress(DEV.read_bytes()))


@needs_dev
def test_no_answer_everywhere_scores_as_published(dev):
    examples, _ = dev
    # What the official script prints for a file of empty answers; its digits stand in many a published log.
    assert squad_metrics(examples, {example.id: "" for example in examples}) == {
        "exact": 50.07159100480081,
        "f1": 50.07159100480081,
        "total": 11873,
        "HasAns_exact": 0.0,
        "HasAns_f1": 0.0,
        "HasAns_total": 5928,
        "NoAns_exact": 100.0,
        "NoAns_f1": 100.0,
        "NoAns_total": 5945,
    }


@needs_dev
def test_gold_answers_score_100(dev):
    examples, _ = dev
    golds = {example.id: example.answers[0].text if example.answers else "" for example in examples}
    metrics = squad_metrics(examples, golds)
    assert {value for key, value in metrics.items() if not key.endswith("total")} == {100.0}


@needs_dev
def test_damaged_gold_answers_score_alike(dev):
    examples, squad = dev
    rng = random.Random(0)
    predictions = {example.id: _damaged(example, rng) for example in examples}
    odds = {key: rng.choice([-1.5, 0.0, 2.0, rng.gauss(0, 3)]) + 3 * (text == "") for key, text in predictions.items()}
    for arguments in ((), (odds, 0.5)):
        figures = squad_metrics(examples, predictions, *arguments)
        assert list(figures.items()) == list(second.metrics(squad, predictions, *arguments).items())
    assert 20 < figures["exact"] < figures["f1"] < 90  # neither side of the scale: there is something to compare
    assert figures["best_f1"] > figures["f1"]  # the search found more than the threshold in use


def _damaged(example: Example, rng: random.Random) -> str:
    """A gold answer or a stretch of the context, sometimes cut, in capitals, with an article or marks around it."""
    words = example.context.split()
    begin = rng.randrange(len(words))
    texts = [answer.text for answer in example.answers] or ["", ""]
    text = rng.choice([*texts, *texts, " ".join(words[begin : begin + 4]), ""])
    changes = [str.upper, "the {}".format, "{}.".format, "“{}”".format, lambda text: text[: len(text) // 2], str]
    return rng.choice(changes)(text) if text else ""

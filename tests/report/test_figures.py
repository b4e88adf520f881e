"""The page's figures, against numbers by hand and against the official metrics."""

import numpy as np
import pytest

from tests.report.conftest import ODDS, SPANS
from tinybert_jax.data import Example, GoldAnswer
from tinybert_jax.report.figures import groups, overview, question_word, reliability, threshold_curve
from tinybert_jax.report.systems import of_predictions
from tinybert_jax.scoring import NO_SPAN_ODDS, squad_metrics


def test_the_overview_has_the_official_metrics_and_how_far_the_first_is_ahead(ours, theirs):
    rows = {row["name"]: row for row in overview([ours, theirs])}
    assert rows["Exact match"]["values"] == [60.0, 60.0]
    assert rows["Exact match"]["difference"]["mean"] == 0.0
    assert rows["Exact match"]["intervals"] == [ours.metrics["exact_interval"], theirs.metrics["exact_interval"]]
    assert rows["Exact match, answerable"]["values"] == pytest.approx([100 / 3, 200 / 3])
    assert rows["Right, unanswerable"]["values"] == [100.0, 50.0]
    assert rows["Right, unanswerable"]["difference"] is None
    assert overview([ours])[0]["difference"] is None


def test_without_unanswerable_questions_nothing_is_said_of_them(examples):
    kept = [example for example in examples if not example.is_impossible]
    names = [row["name"] for row in overview([of_predictions("x", kept, SPANS)])]
    assert not any("unanswerable" in name for name in names)


def test_the_threshold_curve_by_hand(examples, ours):
    curve = threshold_curve(examples, ours)
    assert curve["threshold"] == [-4, -1, 1, 2, 3]
    assert curve["precision"] == pytest.approx([100, 50, 100 / 3, 25, 20])  # q1 is the one exact answer
    assert curve["recall"] == pytest.approx([100 / 3] * 5)
    # Unanswerable q3 and q5 count until they are answered; "has $100" shares one word of two with "$100".
    assert curve["f1"] == pytest.approx([60, 60, 40, 40 + 20 * 2 / 3, 20 + 20 * 2 / 3])


def test_the_curve_is_the_official_f1_at_every_threshold(examples, ours):
    curve = threshold_curve(examples, ours)
    official = [squad_metrics(examples, SPANS, ODDS, at)["f1"] for at in curve["threshold"]]
    assert curve["f1"] == pytest.approx(official)


def test_empty_answers_are_not_given_whatever_their_odds(examples):
    spans = {**SPANS, "q1": "", "q3": ""}
    odds = {**ODDS, "q1": NO_SPAN_ODDS}
    curve = threshold_curve(examples, of_predictions("x", examples, spans, odds))
    assert curve["threshold"] == [-1, 1, 2, 3]
    assert curve["precision"] == [0, 0, 0, 0]
    assert curve["f1"] == pytest.approx([squad_metrics(examples, spans, odds, at)["f1"] for at in (-1, 1, 2, 3)])


def test_shares_of_nothing_are_left_open(theirs):
    unanswerable = [Example(name, "?", "a b", ()) for name in ("x", "y")]
    system = of_predictions("x", unanswerable, {"x": "", "y": "b"}, {"x": -1.0, "y": 0.0})
    curve = threshold_curve(unanswerable, system)
    assert (curve["precision"], curve["recall"], curve["f1"]) == ([None, 0.0], [None, None], [100.0, 50.0])
    assert threshold_curve(unanswerable, theirs) is None


def test_many_thresholds_are_thinned_out():
    many = [Example(str(i), "?", "a", (GoldAnswer("a", 0),)) for i in range(1000)]
    system = of_predictions("x", many, {str(i): "a" for i in range(1000)}, {str(i): float(i) for i in range(1000)})
    curve = threshold_curve(many, system)
    assert (len(curve["threshold"]), curve["threshold"][0], curve["threshold"][-1]) == (201, 0, 999)
    assert curve["recall"][-1] == 100


def test_reliability_by_hand(ours, theirs):
    # 0.42 and 0.45 are wrong; 0.95, 0.97 and 1 are right.
    low, high = reliability(ours)
    assert (low["low"], low["high"], low["count"], low["right"]) == (40, 50, 2, 0)
    assert low["probability"] == pytest.approx(43.5)
    assert (high["low"], high["high"], high["count"], high["right"]) == (90, 100, 3, 100)
    z = 1.959964  # Wilson's interval of 3 in 3 begins at n / (n + z²)
    assert high["interval"] == pytest.approx([100 * 3 / (3 + z**2), 100], abs=1e-4)
    assert reliability(theirs) is None


@pytest.mark.parametrize(
    ("question", "word"),
    [
        ("In what year did who leave?", "what"),
        ("Whose house is it?", "who"),
        ("To WHOM?", "who"),
        ("How many towns?", "how many"),
        ("how much is it", "how much"),
        ("How did it end?", "how"),
        ("Name the somehow whatever town.", "other"),
        ("¿Quién?", "other"),
    ],
)
def test_question_words(question, word):
    assert question_word(question) == word


def test_groups_by_hand(examples, ours, theirs):
    found = groups(examples, [ours, theirs])
    words = {row["label"]: (row["count"], row["f1"]) for row in found["question word"]}
    assert words == {
        "what": (2, [0, 100]),
        "who": (1, [100, 0]),
        "which": (1, [100, 100]),
        "how much": (1, [100, 0]),
    }
    assert found["question word"][0]["label"] == "what"  # the most frequent
    lengths = [(row["label"], row["count"]) for row in found["answer length"]]
    assert lengths == [("no answer", 2), ("1 word", 2), ("2 words", 1)]
    assert [(row["label"], row["count"]) for row in found["context length"]] == [("7 words", 2), ("13 words", 3)]
    for rows in found.values():
        for row in rows:
            for f1, (low, high) in zip(row["f1"], row["intervals"], strict=True):
                assert low - 1e-9 <= f1 <= high + 1e-9


def test_contexts_fall_into_five_groups_of_like_size():
    data = [Example(str(n), "?", "a " * n, ()) for n in range(1, 101)]
    rows = groups(data, [of_predictions("x", data, dict.fromkeys(map(str, range(1, 101)), ""))])["context length"]
    assert [row["label"] for row in rows] == [f"{low}–{low + 19} words" for low in (1, 21, 41, 61, 81)]
    assert np.array([row["count"] for row in rows]).tolist() == [20] * 5


def test_long_answers():
    data = [Example(str(n), "?", "a " * n, (GoldAnswer("a " * n, 0),)) for n in (4, 5, 6, 10, 11)]
    rows = groups(data, [of_predictions("x", data, {example.id: "" for example in data})])["answer length"]
    assert [(row["label"], row["count"]) for row in rows] == [
        ("4–5 words", 2),
        ("6–10 words", 2),
        ("over 10 words", 1),
    ]

"""The official SQuAD 2.0 rules, by hand-worked cases and by invariants."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinybert_jax.data import Example, GoldAnswer
from tinybert_jax.errors import UserError
from tinybert_jax.scoring import (
    best_thresholds,
    exact_score,
    f1_score,
    normalize_answer,
    question_scores,
    squad_metrics,
)


def question(name: str, *golds: str) -> Example:
    return Example(name, "?", "context", tuple(GoldAnswer(gold, 0) for gold in golds))


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("The  Cat,\tan  owl\nand A dog!", "cat owl and dog"),
        ("another theme, Anna", "another theme anna"),  # articles are whole words only
        ("the-cat", "thecat"),  # punctuation goes first, so this is no article any more
        ("a.", ""),
        ("U.S.", "us"),
        ("«Élan» – the Straße", "«élan» – straße"),  # only ASCII punctuation is deleted
        ("10\u00a0km\u3000long\x1cend", "10 km long end"),  # all of Unicode's white space
        ("10\u200bkm", "10\u200bkm"),  # a zero-width space is none
        ("don't", "dont"),
        ("don’t", "don’t"),
        ("the_cat", "thecat"),
        ("-$3.50", "350"),
        ("cats，dogs", "cats，dogs"),
        ("The the THE", ""),
        ("a\u0301", "\u0301"),  # a combining accent is no letter: the "a" before it is a word of its own
        ("\u00e1", "\u00e1"),
        ("İ", "i\u0307"),
        ("", ""),
    ],
)
def test_normalize_answer(text, normal):
    assert normalize_answer(text) == normal


def test_exact_score():
    assert exact_score("The Eiffel Tower.", "eiffel tower") == 1
    assert exact_score("Eiffel Tower", "tower eiffel") == 0
    assert exact_score("", "the") == 1


def test_f1_score_by_hand():
    # gold: big red dog; prediction: red dog house bark; 2 shared words: precision 2/4, recall 2/3.
    assert f1_score("the big red dog", "red dog house bark") == pytest.approx(4 / 7)
    # Words count as often as both sides have them: shared {x: 1, y: 1}; precision 2/2, recall 2/4.
    assert f1_score("x x y z", "x y") == pytest.approx(2 / 3)
    assert f1_score("cat", "dog") == 0


@pytest.mark.parametrize(("gold", "prediction", "f1"), [("", "", 1), ("", "x", 0), ("x", "", 0), ("the", "", 1)])
def test_f1_score_of_an_empty_side(gold, prediction, f1):
    assert f1_score(gold, prediction) == f1


@pytest.mark.parametrize(
    ("golds", "prediction", "exact", "f1"),
    [
        (["red dog"], "", 0, 0),
        ([], "", 1, 1),
        ([], "red dog", 0, 0),
        ([], " The. ", 1, 1),  # nothing is left of it: as good as empty
        (["red dog"], "the", 0, 0),
        (["red dog"], "A RED, dog!", 1, 1),
        (["red dog"], "dog red", 0, 1),
        (["red dog"], "dog", 0, 2 / 3),  # precision 1, recall 1/2
        (["red dog"], "dog dog", 0, 1 / 2),  # one of two words either way
        (["$3.50"], "350", 1, 1),
        (["Élan"], "élan", 1, 1),
        (["Élan"], "E\u0301lan", 0, 0),  # composed and decomposed accents differ
        (["Beyoncé Knowles"], "Beyonce Knowles", 0, 1 / 2),
        (["東京 都"], "東京", 0, 2 / 3),
        (["東京都"], "東京", 0, 0),  # words end at white space alone
        (["1990", "in 1990", "the year 1990"], "in 1990", 1, 1),
        (["in 1990", "1991"], "1990", 0, 2 / 3),
        (["the", "red dog"], "", 0, 0),  # the gold answer "the" is dropped
        (["the", "..."], "", 1, 1),  # both are, and what is left is "no answer"
        (["the", "..."], "the", 1, 1),
        (["the", "..."], "red", 0, 0),
    ],
)
def test_one_question_by_hand(golds, prediction, exact, f1):
    scores = question_scores([question("q", *golds)], {"q": prediction})
    assert scores == {"exact": {"q": exact}, "f1": {"q": pytest.approx(f1)}}


def test_best_gold_answer_counts():
    metrics = squad_metrics([question("q", "in the year 1990", "1990", "1990s")], {"q": "1990."})
    assert metrics == {
        "exact": 100,
        "f1": 100,
        "total": 1,
        "HasAns_exact": 100,
        "HasAns_f1": 100,
        "HasAns_total": 1,
    }
    # Exact and F1 may be reached by different gold answers, each the best of its kind.
    assert squad_metrics([question("q", "red", "red dog")], {"q": "red cat"})["f1"] == pytest.approx(200 / 3)


def test_a_question_whose_gold_answers_are_dropped_stays_answerable():
    assert squad_metrics([question("q", "the", "...")], {"q": ""})["HasAns_exact"] == 100


FOUR = [question("a", "red dog"), question("b"), question("c", "1990"), question("d")]
FOUR_PREDICTIONS = {"a": "dog", "b": "", "c": "the 1990", "d": "something"}


def test_four_questions_by_hand():
    # Exact: 0, 1, 1, 0. F1: 2/3 (precision 1, recall 1/2), 1, 1, 0.
    metrics = squad_metrics(FOUR, FOUR_PREDICTIONS)
    assert list(metrics) == [
        *("exact", "f1", "total"),
        *("HasAns_exact", "HasAns_f1", "HasAns_total"),
        *("NoAns_exact", "NoAns_f1", "NoAns_total"),
    ]
    assert metrics == pytest.approx(
        {
            "exact": 50,
            "f1": 200 / 3,
            "total": 4,
            "HasAns_exact": 50,
            "HasAns_f1": 250 / 3,
            "HasAns_total": 2,
            "NoAns_exact": 50,
            "NoAns_f1": 50,
            "NoAns_total": 2,
        }
    )


def test_only_unanswerable_questions():
    metrics = squad_metrics([question("b"), question("d")], FOUR_PREDICTIONS)
    assert metrics == {"exact": 50, "f1": 50, "total": 2, "NoAns_exact": 50, "NoAns_f1": 50, "NoAns_total": 2}


def test_best_thresholds_by_hand():
    odds = {"d": 3.5, "a": -1.0, "c": -2.0, "b": 0.5}
    metrics = squad_metrics(FOUR, FOUR_PREDICTIONS, odds, threshold=10.0)
    # From 2 (both unanswerable ones right) admit c (+1), a (exact +0, F1 +2/3), b (empty: 0), d (-1).
    assert list(metrics)[-4:] == ["best_exact", "best_exact_thresh", "best_f1", "best_f1_thresh"]
    assert metrics["best_exact"] == 75
    assert metrics["best_exact_thresh"] == -2.0
    assert metrics["best_f1"] == pytest.approx(100 * (3 + 2 / 3) / 4)
    assert metrics["best_f1_thresh"] == -1.0
    assert metrics["exact"] == 50  # no odds are above 10: nothing is overruled


def test_the_best_thresholds_are_those_of_the_metrics():
    odds = {"d": 3.5, "a": -1.0, "c": -2.0, "b": 0.5}
    figures = best_thresholds(FOUR, FOUR_PREDICTIONS, odds)
    metrics = squad_metrics(FOUR, FOUR_PREDICTIONS, odds)
    assert list(figures.items()) == list(metrics.items())[-4:]
    # What was emptied cannot be admitted: c, which was right, is lost.
    assert best_thresholds(FOUR, {**FOUR_PREDICTIONS, "c": ""}, odds)["best_exact"] == 50
    with pytest.raises(UserError, match="every question needs its null odds: 1 missing, first d"):
        best_thresholds(FOUR, FOUR_PREDICTIONS, {"a": 0.0, "b": 0.0, "c": 0.0})


def test_best_threshold_is_0_where_no_prediction_helps():
    examples = [question("b"), question("d")]
    metrics = squad_metrics(examples, FOUR_PREDICTIONS, {"b": -3.0, "d": -2.0})
    assert (metrics["best_exact"], metrics["best_exact_thresh"]) == (100, 0.0)


def test_equal_odds_are_admitted_one_by_one_in_the_order_of_the_odds():
    examples = [question("a", "x"), question("b")]
    predictions = {"a": "x", "b": "y"}
    assert squad_metrics(examples, predictions, {"a": 1.0, "b": 1.0})["best_exact"] == 100
    assert squad_metrics(examples, predictions, {"b": 1.0, "a": 1.0})["best_exact"] == 50


def test_the_search_takes_any_text_for_an_answer():
    # "the" is right where there is no answer, yet the official search counts it as a mistake once admitted.
    metrics = squad_metrics([question("a", "x"), question("b")], {"a": "x", "b": "the"}, {"b": -2.0, "a": -1.0})
    assert metrics["exact"] == 100
    assert metrics["best_exact"] == 50


def test_threshold_overrules_predictions():
    odds = {"a": -1.0, "b": 0.5, "c": 2.0, "d": 2.0}
    metrics = squad_metrics(FOUR, FOUR_PREDICTIONS, odds)  # the default, 1.0: c and d become "no answer"
    assert metrics["HasAns_exact"] == 0
    assert metrics["HasAns_f1"] == pytest.approx(100 / 3)
    assert metrics["NoAns_exact"] == 100
    at_the_odds = squad_metrics(FOUR, FOUR_PREDICTIONS, odds, threshold=2.0)  # not above: stays
    assert at_the_odds["exact"] == 50
    # The best thresholds look at the predictions as they are.
    assert metrics["best_f1"] == at_the_odds["best_f1"]


def test_question_scores_are_those_after_the_threshold():
    odds = {"a": 3.0, "b": 0.5, "c": 2.0, "d": 2.5}
    assert question_scores(FOUR, FOUR_PREDICTIONS, odds, threshold=2.0) == {
        "exact": {"a": 0, "b": 1, "c": 1, "d": 1},
        "f1": {"a": 0, "b": 1, "c": 1, "d": 1},
    }
    assert question_scores(FOUR, FOUR_PREDICTIONS)["f1"] == pytest.approx({"a": 2 / 3, "b": 1, "c": 1, "d": 0})


def test_without_odds_a_negative_threshold_answers_nothing():
    metrics = squad_metrics(FOUR, FOUR_PREDICTIONS, threshold=-0.1)
    assert (metrics["HasAns_exact"], metrics["NoAns_exact"]) == (0, 100)


def test_ids_of_no_question_are_ignored():
    odds = dict.fromkeys("abcd", 0.0)
    expected = squad_metrics(FOUR, FOUR_PREDICTIONS, odds)
    assert squad_metrics(FOUR, {"x": "y", **FOUR_PREDICTIONS}, {"x": -9.0, **odds}) == expected


@pytest.mark.parametrize(
    ("predictions", "odds", "message"),
    [
        ({"b": "", "c": ""}, None, "prediction: 2 missing, first a, d"),
        (FOUR_PREDICTIONS, {"a": 0.0}, "null odds: 3 missing, first b, c, d"),
        ({**FOUR_PREDICTIONS, "c": ["x"]}, None, "prediction of question c must be a text, got"),
        (FOUR_PREDICTIONS, dict.fromkeys("abcd", "0"), "null odds of question a must be a number, got '0'"),
        (FOUR_PREDICTIONS, dict.fromkeys("abcd", float("nan")), "a must be a number, got nan"),
    ],
)
def test_bad_values_are_named(predictions, odds, message):
    for function in (squad_metrics, question_scores):
        with pytest.raises(UserError, match=message):
            function(FOUR, predictions, odds)


def test_no_questions():
    with pytest.raises(UserError, match="no questions"):
        squad_metrics([], {})


TEXT = st.text(alphabet="aThe xy.,é\t\u00a0", max_size=8)


@given(TEXT, TEXT)
def test_scores_agree_with_each_other(gold, prediction):
    exact, f1 = exact_score(gold, prediction), f1_score(gold, prediction)
    assert exact <= f1 <= 1
    assert f1 == pytest.approx(f1_score(prediction, gold))
    assert exact_score(gold, gold) == f1_score(gold, gold) == 1


ROWS = st.lists(st.tuples(st.lists(TEXT, max_size=3), TEXT, st.floats(-9, 9, width=16)), min_size=1, max_size=6)


@given(ROWS, st.floats(-9, 9, width=16))
def test_invariants_of_the_figures(rows, threshold):
    examples = [question(str(i), *golds) for i, (golds, _, _) in enumerate(rows)]
    predictions = {str(i): prediction for i, (_, prediction, _) in enumerate(rows)}
    odds = {str(i): float(odd) for i, (_, _, odd) in enumerate(rows)}
    metrics = squad_metrics(examples, predictions, odds, threshold)

    assert 0 <= metrics["exact"] <= metrics["f1"] + 1e-9 <= 100 + 1e-6
    parts = [prefix for prefix in ("HasAns", "NoAns") if f"{prefix}_total" in metrics]
    assert sum(metrics[f"{prefix}_total"] for prefix in parts) == metrics["total"] == len(rows)
    for name in ("exact", "f1"):
        weighted = sum(metrics[f"{prefix}_{name}"] * metrics[f"{prefix}_total"] for prefix in parts)
        assert metrics[name] == pytest.approx(weighted / len(rows))
        # "No answer" everywhere is where the search starts.
        unanswerable = 100 * sum(example.is_impossible for example in examples) / len(rows)
        assert metrics[f"best_{name}"] >= unanswerable - 1e-9


@given(ROWS, st.integers())
def test_best_threshold_is_reached_by_using_it(rows, seed):
    examples = [question(str(i), *golds) for i, (golds, _, _) in enumerate(rows)]
    predictions = {str(i): prediction for i, (_, prediction, _) in enumerate(rows)}
    distinct = random.Random(seed).sample(range(-9, 0), len(rows))
    odds = {str(i): float(odd) for i, odd in enumerate(distinct)}
    metrics = squad_metrics(examples, predictions, odds)
    for name in ("exact", "f1"):
        best, threshold = metrics[f"best_{name}"], metrics[f"best_{name}_thresh"]
        if threshold < 0:  # 0.0 stands for "no answer everywhere" as well
            reached = squad_metrics(examples, predictions, odds, threshold)
            assert reached[name] >= best - 1e-9

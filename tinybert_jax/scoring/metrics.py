"""The official SQuAD 2.0 figures (evaluate-v2.0): exact match, F1 and the best no-answer thresholds."""

import functools
import math
import re
import string
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tinybert_jax.data.example import Example
from tinybert_jax.errors import UserError

_WITHOUT_PUNCTUATION = str.maketrans("", "", string.punctuation)
_ARTICLES = re.compile(r"\b(a|an|the)\b")


@functools.lru_cache(1 << 16)  # a text is normalised for several metrics, and golds repeat
def normalize_answer(text: str) -> str:
    """Lower-cases, deletes ASCII punctuation, then English articles, and collapses white space."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_WITHOUT_PUNCTUATION)).split())


def exact_score(gold: str, prediction: str) -> int:
    """1 if both texts are equal once normalised, else 0."""
    return int(normalize_answer(gold) == normalize_answer(prediction))


def f1_score(gold: str, prediction: str) -> float:
    """F1, in [0, 1], of the normalised texts as bags of words; 1 if both are empty, 0 if one is."""
    return _bag_f1(normalize_answer(gold).split(), normalize_answer(prediction).split())


def _bag_f1(gold_words: list[str], words: list[str]) -> float:
    if not gold_words or not words:
        return float(gold_words == words)
    shared = (Counter(gold_words) & Counter(words)).total()
    if shared == 0:
        return 0.0
    precision, recall = shared / len(words), shared / len(gold_words)
    return 2 * precision * recall / (precision + recall)


def question_scores(
    examples: Sequence[Example],
    predictions: Mapping[str, str],
    null_odds: Mapping[str, float] | None = None,
    threshold: float = 1.0,
) -> dict[str, dict[str, float]]:
    """Scores each question by the official rules: what `squad_metrics` takes its means of.

    Args:
        examples: the questions; of several gold answers the one that matches best counts.
        predictions: question id -> predicted text, "" for "no answer". Ids of no question are ignored.
        null_odds: question id -> how much the model favours "no answer".
        threshold: a question whose odds are above it is scored as predicting no answer. Without
            `null_odds` all odds are 0, so a negative threshold makes every question "no answer".

    Returns:
        {"exact": scores, "f1": scores}: question id -> score in [0, 1], in the order of `examples`.

    Raises:
        UserError: there are no questions, or one lacks its prediction (a text) or its odds (a number).
    """
    _check_inputs(examples, predictions, null_odds)
    return _thresholded(examples, _raw_scores(examples, predictions), null_odds, threshold)


def squad_metrics(
    examples: Sequence[Example],
    predictions: Mapping[str, str],
    null_odds: Mapping[str, float] | None = None,
    threshold: float = 1.0,
) -> dict[str, float]:
    """Scores predictions, in percent, as the official SQuAD 2.0 script does, with its keys in its order.

    Where a question has no prediction the official script leaves it out of its means; here that is an error.

    Args:
        examples: the questions, as for `question_scores`.
        predictions: their answers, as for `question_scores`.
        null_odds: as for `question_scores`; adds the figures of `best_thresholds`.
        threshold: as for `question_scores`; the figures of `best_thresholds` do not depend on it.

    Returns:
        exact, f1, total; HasAns_* and NoAns_* likewise if there are such questions; and with `null_odds`
        best_exact, best_exact_thresh, best_f1, best_f1_thresh.

    Raises:
        UserError: there are no questions, or one lacks its prediction (a text) or its odds (a number).
    """
    _check_inputs(examples, predictions, null_odds)
    raw = _raw_scores(examples, predictions)
    scores = _thresholded(examples, raw, null_odds, threshold)
    metrics = _averages(scores, [example.id for example in examples])
    for prefix, impossible in (("HasAns", False), ("NoAns", True)):
        ids = [example.id for example in examples if example.is_impossible == impossible]
        if ids:
            metrics |= {f"{prefix}_{key}": value for key, value in _averages(scores, ids).items()}
    return metrics if null_odds is None else metrics | _best_figures(examples, predictions, raw, null_odds)


def best_thresholds(
    examples: Sequence[Example], predictions: Mapping[str, str], null_odds: Mapping[str, float]
) -> dict[str, float]:
    """What the best of all no-answer thresholds would score, in percent, as the official SQuAD 2.0 script computes it.

    Only an answer that is there can be admitted: of predictions that were emptied at some threshold already, no
    threshold above that one brings anything back. Give each question's best answer, whatever its odds.

    Args:
        examples: the questions, as for `question_scores`.
        predictions: question id -> its answer, were it to have one.
        null_odds: question id -> how much the model favours "no answer".

    Returns:
        best_exact, best_exact_thresh, best_f1, best_f1_thresh: odds above the threshold mean "no answer".

    Raises:
        UserError: there are no questions, or one lacks its prediction (a text) or its odds (a number).
    """
    _check_inputs(examples, predictions, null_odds)
    return _best_figures(examples, predictions, _raw_scores(examples, predictions), null_odds)


def _best_figures(
    examples: Sequence[Example],
    predictions: Mapping[str, str],
    raw: Mapping[str, Mapping[str, float]],
    odds: Mapping[str, float],
) -> dict[str, float]:
    figures = {}
    for name, scores in raw.items():
        best, threshold = _best_threshold(examples, predictions, scores, odds)
        figures |= {f"best_{name}": best, f"best_{name}_thresh": threshold}
    return figures


def _raw_scores(examples: Sequence[Example], predictions: Mapping[str, str]) -> dict[str, dict[str, float]]:
    """Each prediction's scores against its best-matching gold answer, before any threshold."""
    exact, f1 = {}, {}
    for example in examples:
        # A gold answer of articles and punctuation alone cannot be matched: the official rules drop it.
        golds = [gold for answer in example.answers if (gold := normalize_answer(answer.text))] or [""]
        prediction = normalize_answer(predictions[example.id])
        exact[example.id] = float(prediction in golds)
        f1[example.id] = max(_bag_f1(gold.split(), prediction.split()) for gold in golds)
    return {"exact": exact, "f1": f1}


def _thresholded(
    examples: Sequence[Example],
    raw: Mapping[str, Mapping[str, float]],
    odds: Mapping[str, float] | None,
    threshold: float,
) -> dict[str, dict[str, float]]:
    """The scores, where odds above the threshold count as predicting "no answer"."""
    overruled = {
        example.id: float(example.is_impossible)
        for example in examples
        if (0.0 if odds is None else odds[example.id]) > threshold
    }
    return {name: {**scores, **overruled} for name, scores in raw.items()}


def _averages(scores: Mapping[str, Mapping[str, float]], ids: Sequence[str]) -> dict[str, float]:
    means = {name: 100.0 * sum(values[key] for key in ids) / len(ids) for name, values in scores.items()}
    return {**means, "total": len(ids)}


def _best_threshold(
    examples: Sequence[Example],
    predictions: Mapping[str, str],
    scores: Mapping[str, float],
    odds: Mapping[str, float],
) -> tuple[float, float]:
    """The best mean score, in percent, that any threshold on the odds reaches, and that threshold.

    Starts from "no answer" everywhere and admits predictions one at a time, surest first. As in the
    official script equal odds are admitted one by one, in the order in which `odds` lists them.
    """
    impossible = {example.id: example.is_impossible for example in examples}
    current = best = float(sum(impossible.values()))
    threshold = 0.0
    for key in sorted((key for key in odds if key in impossible), key=lambda key: odds[key]):
        if not impossible[key]:
            current += scores[key]
        elif predictions[key]:
            current -= 1
        if current > best:
            best, threshold = current, odds[key]
    return 100.0 * best / len(examples), threshold


def check_labelled(examples: Sequence[Example]) -> None:
    """Checks that questions can be scored.

    Raises:
        UserError: nobody has said what their answers are.
    """
    if examples and not examples[0].is_labelled:
        raise UserError(
            f"questions without labels cannot be scored, got {len(examples)} of them, {examples[0].id!r} first: give "
            "labelled data, or measure how far a model agrees with its teacher, by `tinybert evaluate MODEL --against "
            "TEACHER`"
        )


def _check_inputs(
    examples: Sequence[Example], predictions: Mapping[str, str], null_odds: Mapping[str, float] | None
) -> None:
    if not examples:
        raise UserError("there are no questions to score: give a data file that holds at least one")
    check_labelled(examples)
    _check_values(examples, predictions, "prediction", "a text", lambda value: isinstance(value, str))
    if null_odds is not None:
        _check_values(examples, null_odds, "null odds", "a number", _is_number)


def _check_values(
    examples: Sequence[Example],
    values: Mapping[str, Any],
    name: str,
    kind: str,
    is_valid: Callable[[Any], bool],
) -> None:
    """Requires of every question a value, and of every value that it `is_valid`, that is to say `kind`."""
    missing = [example.id for example in examples if example.id not in values]
    if missing:
        raise UserError(
            f"every question needs its {name}: {len(missing)} missing, first {', '.join(missing[:5])}; "
            "check that the file belongs to this data"
        )
    for example in examples:
        if not is_valid(values[example.id]):
            raise UserError(f"{name} of question {example.id} must be {kind}, got {values[example.id]!r}")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and not math.isnan(value)

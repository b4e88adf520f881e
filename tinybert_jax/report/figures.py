"""The page's figures, as plain lists and dicts. Pure numpy and scipy."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.stats import binomtest

from tinybert_jax.data.example import Example
from tinybert_jax.report.systems import System
from tinybert_jax.scoring import NO_SPAN_ODDS, interval, metric_differences, question_scores

_POINTS = 201  # thresholds drawn, as many questions between each two
_BINS = 10  # of probabilities
_RESAMPLES = 2_000  # an interval for every group: 10,000 would take ten seconds for SQuAD 2.0's dev set
_QUESTION_WORDS = re.compile(r"\b(who|what|when|where|which|why|how (?:many|much)|how)(?:m|se)?\b", re.IGNORECASE)
_LENGTHS = {1: "1 word", 2: "2 words", 3: "3 words", 5: "4–5 words", 10: "6–10 words"}

Figures = dict[str, Any]


def overview(systems: Sequence[System]) -> list[Figures]:
    """The official metrics, a row each: {"name", "values", "intervals", "difference"}.

    A value is None where the data has no such question; intervals and the difference of two systems, first less second,
    are there for exact and F1 of all questions alone.
    """
    names = {
        "exact": "Exact match",
        "f1": "F1",
        "HasAns_exact": "Exact match, answerable",
        "HasAns_f1": "F1, answerable",
        "NoAns_exact": "Right, unanswerable",
    }
    differences = metric_differences(*(system.scores for system in systems)) if len(systems) == 2 else {}
    return [
        {
            "name": name,
            "values": [system.metrics[key] for system in systems],
            "intervals": [system.metrics.get(f"{key}_interval") for system in systems],
            "difference": differences.get(key),
        }
        for key, name in names.items()
        if key in systems[0].metrics
    ]


def threshold_curve(examples: Sequence[Example], system: System) -> Figures | None:
    """What each threshold of "no answer" would give, in percent; None for a system that has no odds.

    Returns:
        {"threshold", "precision", "recall", "f1"}: lists of one length, from the strictest threshold up. Precision is
        the share of answers given that match exactly, None where none is given; recall the share of answerable
        questions so answered, None where there are none; F1 the official one over all questions.
    """
    if system.odds is None or system.spans is None:
        return None
    impossible = np.array([example.is_impossible for example in examples])
    spans = dict(zip((example.id for example in examples), system.spans, strict=True))
    scores = {name: np.array(list(column.values())) for name, column in question_scores(examples, spans).items()}
    order = np.argsort(system.odds, kind="stable")
    odds, is_answer = system.odds[order], np.array([bool(span) for span in system.spans])[order]
    right = np.cumsum(scores["exact"][order] * is_answer * ~impossible[order])
    given, gained = np.cumsum(is_answer), np.cumsum(scores["f1"][order] - impossible[order])
    finite = odds[np.abs(odds) < NO_SPAN_ODDS]
    if not len(finite):
        return None
    drawn = np.unique(np.quantile(finite, np.linspace(0, 1, _POINTS), method="inverted_cdf"))
    answerable, total = int((~impossible).sum()), len(examples)
    last = np.searchsorted(odds, drawn, side="right") - 1
    return {
        "threshold": drawn.tolist(),
        "precision": [100 * float(right[i] / given[i]) if given[i] else None for i in last],
        "recall": [100 * float(right[i] / answerable) if answerable else None for i in last],
        "f1": [100 * float((impossible.sum() + gained[i]) / total) for i in last],
    }


def reliability(system: System) -> list[Figures] | None:
    """Answers by how probable they were called: {"low", "high", "count", "probability", "right", "interval"}.

    "probability" is the mean, "right" the share that match exactly, both in percent, and "interval" the 95% interval
    of that share (Wilson 1927). Bins without a question are left out; None for a system without probabilities.
    """
    if system.probability is None:
        return None
    which = np.minimum((system.probability * _BINS).astype(int), _BINS - 1)
    rows = []
    for number in np.unique(which).tolist():
        inside = which == number
        count, right = int(inside.sum()), int(system.is_right[inside].sum())
        bounds = binomtest(right, count).proportion_ci(method="wilson")
        rows.append(
            {
                "low": 100 * number // _BINS,
                "high": 100 * (number + 1) // _BINS,
                "count": count,
                "probability": 100 * float(system.probability[inside].mean()),
                "right": 100 * right / count,
                "interval": [100 * float(bounds.low), 100 * float(bounds.high)],
            }
        )
    return rows


def question_word(question: str) -> str:
    """The first English question word of a question, "whom" and "whose" as "who"; "other" where it has none."""
    found = _QUESTION_WORDS.search(question)
    return found[1].lower() if found else "other"


def groups(examples: Sequence[Example], systems: Sequence[System]) -> dict[str, list[Figures]]:
    """F1 by kind of question: {kind: rows of {"label", "count", "f1", "intervals"}}, an F1 and interval a system.

    Kinds are the question word; the length of the first gold answer in words; and that of the context, in five groups
    of about as many questions each.
    """
    kinds: Mapping[str, list[str]] = {
        "question word": [question_word(example.question) for example in examples],
        "answer length": [_answer_length(example) for example in examples],
        "context length": _context_lengths(examples),
    }
    lengths = ["no answer", *_LENGTHS.values(), "over 10 words"]
    order = {
        "question word": lambda label, count: (label == "other", -count),
        "answer length": lambda label, count: lengths.index(label),
        "context length": lambda label, count: int(label.split("–")[0].split()[0]),
    }
    found = {}
    for kind, labels in kinds.items():
        rows = _rows(np.array(labels), systems)
        found[kind] = sorted(rows, key=lambda row, kind=kind: order[kind](row["label"], row["count"]))
    return found


def _rows(labels: np.ndarray, systems: Sequence[System]) -> list[Figures]:
    rows = []
    for label in np.unique(labels).tolist():
        scores = [system.column("f1")[labels == label] for system in systems]
        rows.append(
            {
                "label": label,
                "count": len(scores[0]),
                "f1": [100 * float(column.mean()) for column in scores],
                "intervals": [list(interval(column, resamples=_RESAMPLES)) for column in scores],
            }
        )
    return rows


def _answer_length(example: Example) -> str:
    if example.is_impossible:
        return "no answer"
    words = len(example.answers[0].text.split())
    return next((label for most, label in _LENGTHS.items() if words <= most), "over 10 words")


def _context_lengths(examples: Sequence[Example]) -> list[str]:
    words = np.array([len(example.context.split()) for example in examples])
    which = np.searchsorted(np.unique(np.quantile(words, [0.2, 0.4, 0.6, 0.8])), words)
    ends = {number: (words[which == number].min(), words[which == number].max()) for number in set(which.tolist())}
    names = {n: f"{low}–{high} words" if low < high else f"{low} words" for n, (low, high) in ends.items()}
    return [names[number] for number in which.tolist()]

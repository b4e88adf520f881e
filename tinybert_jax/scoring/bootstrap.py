"""How far figures measured on a sample of questions can be trusted: bootstrap intervals and comparisons.

The questions are resampled with replacement, as many as there are, and the mean is taken again each time: the
means spread as they would over other data sets of the same kind. Intervals are percentile intervals (Efron and
Tibshirani 1993, An Introduction to the Bootstrap, chapter 13). Two systems are compared on the same resampled
questions (Koehn 2004, Statistical Significance Tests for Machine Translation Evaluation).

The spread is that of the questions alone, each taken as independent of the others, though some share a paragraph;
another training seed moves the figures as well.

`scipy.stats.bootstrap` gives the same interval, and is not used: it has no p-value of a paired comparison, draws again
for each metric, and unless told to work in batches holds all draws at once, 1.8 GB for SQuAD 2.0's dev set.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Num

_LEVEL = (2.5, 97.5)  # percentiles that hold 95% between them
_BLOCK_DRAWS = 1 << 18  # questions drawn at once: 2 MB of scores, whatever the data's size
_TIE = 1e-12  # a mean of differences that cancel is 0 only up to rounding


class Difference(NamedTuple):
    """How much better one system is than another, in percent.

    Attributes:
        mean: the mean of the first system's scores less that of the second's.
        low: where the 95% interval of that mean begins.
        high: where it ends.
        p: two-sided p-value of "they are equally good", see `paired_bootstrap`.
    """

    mean: float
    low: float
    high: float
    p: float


def interval(
    scores: Sequence[float] | Num[np.ndarray, " N"], *, resamples: int = 10_000, seed: int = 0
) -> tuple[float, float]:
    """The 95% percentile bootstrap interval of a mean, in percent.

    Args:
        scores: one a question, in [0, 1].
        resamples: how often the questions are resampled.
        seed: of the resampling.

    Returns:
        (low, high), the 2.5th and the 97.5th percentile of the resampled means, times 100.

    Raises:
        ValueError: `scores` is not a vector or is empty.
    """
    low, high = np.percentile(_resampled_means(_vector(scores), resamples, seed), _LEVEL)
    return 100 * float(low), 100 * float(high)


def paired_bootstrap(
    a: Sequence[float] | Num[np.ndarray, " N"],
    b: Sequence[float] | Num[np.ndarray, " N"],
    *,
    resamples: int = 10_000,
    seed: int = 0,
) -> Difference:
    """Compares two systems on the same questions.

    The p-value is the one that belongs to the interval, 2 (1 + m) / (1 + resamples), at most 1: m counts the
    resamples whose difference is at most 0, or those where it is at least 0, whichever are fewer. It is about
    0.05 where an end of the interval touches 0, and it is never 0: the data itself counts as one more resample
    (Davison and Hinkley 1997, Bootstrap Methods and their Application, section 4.2).

    Args:
        a: the first system's scores, one a question, in [0, 1].
        b: the second system's, the same questions in the same order.
        resamples: how often the questions are resampled.
        seed: of the resampling.

    Returns:
        The difference a - b. Swapping the systems turns its sign and leaves p as it is.

    Raises:
        ValueError: `a` and `b` are not vectors of one length, or empty.
    """
    first, second = _vector(a), _vector(b)
    if first.shape != second.shape:
        raise ValueError(f"paired scores must be as many on both sides, got {len(first)} and {len(second)}")
    means = _resampled_means(first - second, resamples, seed)
    low, high = np.percentile(means, _LEVEL)
    fewest = min(np.count_nonzero(means <= _TIE), np.count_nonzero(means >= -_TIE))
    return Difference(
        mean=100 * float(np.mean(first - second)),
        low=100 * float(low),
        high=100 * float(high),
        p=min(1.0, 2 * (1 + int(fewest)) / (1 + resamples)),
    )


def metric_intervals(scores: Mapping[str, Mapping[str, float]]) -> dict[str, list[float]]:
    """The intervals of `question_scores`: {"exact_interval": [low, high], "f1_interval": …}, to two decimals."""
    columns = np.array([_vector(list(values.values())) for values in scores.values()])
    bounds = 100 * np.percentile(_resampled_means(columns), _LEVEL, axis=1)
    return {
        f"{name}_interval": [_rounded(float(low)), _rounded(float(high))]
        for name, low, high in zip(scores, *bounds, strict=True)
    }


def metric_differences(
    a: Mapping[str, Mapping[str, float]], b: Mapping[str, Mapping[str, float]]
) -> dict[str, dict[str, float | list[float]]]:
    """How much better a's `question_scores` are than b's, in percent to two decimals.

    Args:
        a: the first system's scores by metric and question id.
        b: the second system's, of the same questions.

    Returns:
        {"exact": {"mean": a - b, "interval": [low, high], "p": p-value to four decimals}, "f1": …}.
    """
    differences = {}
    for name, scores in a.items():
        found = paired_bootstrap(list(scores.values()), [b[name][key] for key in scores])
        differences[name] = {
            "mean": _rounded(found.mean),
            "interval": [_rounded(found.low), _rounded(found.high)],
            "p": round(found.p, 4),
        }
    return differences


def _rounded(percent: float) -> float:
    return round(percent, 2) + 0.0  # turns -0.0 into 0.0


def _vector(scores: Sequence[float] | Num[np.ndarray, "..."]) -> Float[np.ndarray, " N"]:
    vector = np.asarray(scores, np.float64)
    if vector.ndim != 1 or not len(vector):
        raise ValueError(f"scores must be a vector of at least one question, got shape {vector.shape}")
    return vector


def _resampled_means(
    values: Float[np.ndarray, "*rows N"], resamples: int = 10_000, seed: int = 0
) -> Float[np.ndarray, "*rows {resamples}"]:
    """Means of N values drawn with replacement from the N `values`, the same for every row."""
    rng, count = np.random.default_rng(seed), values.shape[-1]
    means = np.empty((*values.shape[:-1], resamples))
    block = max(1, _BLOCK_DRAWS // count)
    for begin in range(0, resamples, block):
        part = means[..., begin : begin + block]
        draws = rng.integers(count, size=(part.shape[-1], count), dtype=np.int32)
        part[:] = np.take(values, draws, axis=-1).mean(axis=-1)
    return means

"""How sure a model is, made true: a temperature for its probabilities, and a threshold for its silence.

Both are found on held-out questions, and hold for questions drawn like those, independently of each other. Pure numpy
and scipy.
"""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from scipy.optimize import minimize_scalar
from scipy.special import softmax
from scipy.stats import binom

from tinybert_jax.errors import UserError, check

_TEMPERATURES = (0.05, 20.0)  # the narrowest and the widest looked at; a trained model's is near 1
_COVERAGES = 20  # shares of the questions tried, 5% to 100%


def top_probability(options: Float[np.ndarray, "Q K"], temperature: float) -> Float[np.ndarray, " Q"]:
    """The probability of each question's likeliest option: its part in a softmax of options / temperature."""
    return 1 / np.exp((options - options.max(axis=1, keepdims=True)) / temperature).sum(axis=1)


def given_probability(
    options: Float[np.ndarray, "Q K"], is_null: Bool[np.ndarray, " Q"], temperature: float
) -> Float[np.ndarray, " Q"]:
    """The probability of the answer that each question was given: "no answer" where `is_null`, else its best span.

    With the threshold of "no answer" at 0 that is the likeliest option, else it need not be.

    Args:
        options: as in `padded_options`.
        is_null: whether "no answer" was given.
        temperature: what scores are divided by.
    """
    shares = softmax(options / temperature, axis=1)
    return np.where(is_null, shares[:, 0], shares[:, 1])


def log_loss(probability: Float[np.ndarray, " Q"], is_right: Bool[np.ndarray, " Q"]) -> float:
    """The mean negative log-likelihood of whether answers are right, when held right with these probabilities."""
    probability = np.clip(probability, 1e-12, 1 - 1e-12)  # 1 to rounding is not certainty
    return float(-np.mean(np.where(is_right, np.log(probability), np.log1p(-probability))))


def calibration_error(probability: Float[np.ndarray, " Q"], is_right: Bool[np.ndarray, " Q"], bins: int = 10) -> float:
    """The expected calibration error (Guo et al. 2017, equation 3): how far shares right are from probabilities."""
    which = np.minimum((probability * bins).astype(int), bins - 1)
    gaps = np.bincount(which, weights=is_right - probability, minlength=bins)
    return float(np.abs(gaps).sum() / len(probability))


def fit_temperature(options: Float[np.ndarray, "Q K"], is_right: Bool[np.ndarray, " Q"]) -> float:
    """The temperature that makes the likeliest option's probability likeliest (Guo et al. 2017, section 4.2).

    What is fitted is whether that option is right, as that is what its probability is read as.

    Args:
        options: scores in logits, minus infinity where there is none.
        is_right: whether each question's highest option is right.

    Raises:
        UserError: all of them are right, or none: any temperature at the end of the scale would do.
    """
    if is_right.all() or not is_right.any():
        share = "every" if is_right.all() else "no"
        raise UserError(
            f"a temperature needs right and wrong answers, and on these {len(is_right)} questions {share} answer is "
            "right: calibrate on other questions, or on more"
        )

    def loss(log_temperature: float) -> float:
        return log_loss(top_probability(options, np.exp(log_temperature)), is_right)

    found: Any = minimize_scalar(loss, bounds=np.log(_TEMPERATURES), method="bounded")
    return float(np.exp(found.x))


def f1_threshold(
    null_odds: Float[np.ndarray, " Q"], span_f1: Float[np.ndarray, " Q"], null_f1: Float[np.ndarray, " Q"]
) -> float:
    """The threshold on null odds at which the mean F1 is highest; of equal ones the strictest.

    Unlike the official script's, which may be one that nobody can reach: here questions of equal odds are answered or
    not together, and where it is best to give no answer at all, the threshold is below all odds, not 0.

    Args:
        null_odds: how much the model favours "no answer" over its best span, in logits.
        span_f1: what that span scores, in [0, 1].
        null_f1: what "no answer" does.
    """
    order = np.argsort(null_odds, kind="stable")
    odds, gains = null_odds[order], (span_f1 - null_f1)[order]
    given = np.append(0, np.flatnonzero(np.append(np.diff(odds) > 0, True)) + 1)  # answers, at each threshold
    # Rounded: sums that are equal on paper are not so in floating point.
    best = given[np.argmax(np.append(0, np.cumsum(gains))[given].round(9))]
    return float(odds[best - 1] if best else np.nextafter(odds[0], -np.inf))


class Guarantee(NamedTuple):
    """A threshold on null odds, and what was seen below it.

    Attributes:
        threshold: answers are given where the odds do not exceed it.
        given: how many questions that are.
        wrong: how many of their answers are wrong.
    """

    threshold: float
    given: int
    wrong: int


def risk_threshold(
    null_odds: Float[np.ndarray, " Q"],
    is_wrong: Bool[np.ndarray, " Q"],
    max_wrong: float,
    confidence: float = 0.95,
) -> Guarantee:
    """The threshold that gives most answers while the share of wrong ones among them stays bounded.

    Conformal risk control in its high-probability form (Learn then Test, Angelopoulos et al. 2021), for the risk of
    selective prediction (Geifman and El-Yaniv 2017). The surest 5%, 10%, …, 100% of the questions are tried. Given the
    odds of the next question after them, the answers to the n surest are independent, so that k wrong among n have the
    p-value P(Binomial(n, max_wrong) <= k) under "more than max_wrong of the answers below this threshold are wrong".
    A threshold passes where that is at most (1 - confidence) / 20: the 20 tests together err with probability
    1 - confidence at most.

    It holds for questions drawn as these were, independently, if these took no part in training or in choosing the
    model. Another kind of text, or questions about one paragraph that succeed and fail together, weaken it.

    Args:
        null_odds: how much the model favours "no answer" over its best span, in logits.
        is_wrong: whether that span is a wrong answer; on an unanswerable question any is.
        max_wrong: the greatest share of wrong answers among those given, in (0, 1).
        confidence: with which the share stays below it, over the draw of these questions.

    Raises:
        UserError: no threshold passes.
    """
    check("max_wrong", max_wrong, 0 < max_wrong < 1, "in (0, 1)")
    order = np.argsort(null_odds, kind="stable")
    odds, wrong = null_odds[order], np.cumsum(is_wrong[order])
    level, passed = (1 - confidence) / _COVERAGES, None
    for step in range(1, _COVERAGES + 1):
        count = step * len(odds) // _COVERAGES
        # Below the next question's odds, so that equal odds are treated alike; the last has no next one.
        given = int(np.searchsorted(odds, odds[count])) if count < len(odds) else count
        if given and binom.cdf(wrong[given - 1], given, max_wrong) <= level:
            passed = Guarantee(float(odds[given - 1]), given, int(wrong[given - 1]))
    if passed is None:
        fewest = int(np.ceil(np.log(level) / np.log1p(-max_wrong)))
        raise UserError(
            f"no threshold keeps wrong answers below {max_wrong:.0%} of those given, with {confidence:.0%} "
            f"confidence, on these {len(odds)} questions: take more of them ({fewest} answers without a mistake are "
            "the fewest that could show it), allow more wrong answers, or take a better model"
        )
    return passed

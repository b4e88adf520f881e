"""Temperature and threshold, against numbers by hand and against what they promise."""

import math

import numpy as np
import pytest
from scipy.stats import binom

from tinybert_jax.errors import UserError
from tinybert_jax.scoring.calibration import (
    Guarantee,
    calibration_error,
    f1_threshold,
    fit_temperature,
    given_probability,
    log_loss,
    risk_threshold,
    top_probability,
)


def test_top_probability_by_hand():
    options = np.array([[1.0, 3.0, -np.inf], [2.0, 2.0, 2.0]])
    expected = [math.exp(1.5) / (math.exp(0.5) + math.exp(1.5)), 1 / 3]
    np.testing.assert_allclose(top_probability(options, 2.0), expected)


def test_the_given_answer_need_not_be_the_likeliest():
    options = np.array([[1.0, 3.0, -np.inf], [1.0, 3.0, -np.inf], [-np.inf, 2.0, 2.0], [5.0, -np.inf, -np.inf]])
    given = given_probability(options, np.array([True, False, False, True]), 2.0)
    likeliest = math.exp(1.5) / (math.exp(0.5) + math.exp(1.5))
    np.testing.assert_allclose(given, [1 - likeliest, likeliest, 1 / 2, 1])


def test_log_loss_and_calibration_error_by_hand():
    probability, is_right = np.array([0.9, 0.8, 0.85, 0.3]), np.array([True, True, False, False])
    assert log_loss(probability, is_right) == pytest.approx(-np.log([0.9, 0.8, 0.15, 0.7]).mean())
    # Bins of a tenth: 0.3 | 0.8, 0.85 | 0.9.
    assert calibration_error(probability, is_right) == pytest.approx((0.3 + abs(1 - 1.65) + 0.1) / 4)
    assert math.isfinite(log_loss(np.array([1.0, 0.0]), np.array([False, True])))


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_temperature_that_made_the_answers_is_found_again(temperature):
    rng = np.random.default_rng(0)
    options = rng.normal(scale=4, size=(20_000, 5))
    is_right = rng.random(20_000) < top_probability(options, temperature)
    found = fit_temperature(options, is_right)
    assert found == pytest.approx(temperature, rel=0.05)
    assert calibration_error(top_probability(options, found), is_right) < 0.015


@pytest.mark.parametrize(("right", "share"), [(True, "every"), (False, "no")])
def test_a_temperature_needs_right_and_wrong_answers(right, share):
    with pytest.raises(UserError, match=f"on these 3 questions {share} answer is right"):
        fit_temperature(np.zeros((3, 2)), np.full(3, right))


@pytest.mark.parametrize(
    ("odds", "span_f1", "threshold"),
    [
        ([-1, 0, 1], [1, 1, 0], 0),
        ([1, 0, -1], [0, 0.5, 1], -1),
        ([0, 0, 1], [1, 0, 1], 1),  # the script's sweep would stop between the two of equal odds
        ([-1, 0, 0], [1, 1, 0], -1),
        ([0, 1], [1, 0.5], 0),  # of equal ones the strictest
    ],
)
def test_the_threshold_with_the_highest_f1_by_hand(odds, span_f1, threshold):
    """Half of the questions' F1 comes from "no answer": 0.5 each."""
    assert f1_threshold(np.array(odds, float), np.array(span_f1, float), np.full(len(odds), 0.5)) == threshold


def test_where_no_answer_at_all_is_best_the_threshold_is_below_all_odds():
    odds = np.array([0.5, -3.0, 2.0])
    threshold = f1_threshold(odds, np.zeros(3), np.ones(3))
    assert -3.0001 < threshold < -3 and not (odds <= threshold).any()


def test_no_threshold_scores_higher_than_the_one_that_is_found():
    rng = np.random.default_rng(0)
    for _ in range(50):
        odds, span, null = (rng.integers(low, high, 12).astype(float) for low, high in ((-3, 4), (0, 3), (0, 2)))

        def f1_at(threshold, odds=odds, span=span, null=null):
            return np.where(odds > threshold, null, span).sum()

        assert f1_at(f1_threshold(odds, span, null)) == max(map(f1_at, np.arange(-4.0, 4)))


def test_the_threshold_gives_most_answers_whose_bound_holds():
    odds = np.linspace(-10, 10, 1000)
    is_wrong = np.arange(1000) >= 500  # the surer half is right
    found = risk_threshold(odds, is_wrong, 0.2)
    # 600 answers with 100 wrong do pass at a level of 0.05 / 20, 650 with 150 do not.
    assert binom.cdf(100, 600, 0.2) > 0.0025 >= binom.cdf(50, 550, 0.2)
    assert found == Guarantee(odds[549], 550, 50)
    assert (odds <= found.threshold).sum() == 550


def test_equal_odds_are_given_together_or_not_at_all():
    odds = np.repeat([-3.0, -2.0, 5.0], [300, 310, 390])
    is_wrong = odds > 0
    found = risk_threshold(odds, is_wrong, 0.1)
    assert found == Guarantee(-2.0, 610, 0)


def test_all_answers_may_be_given():
    assert risk_threshold(np.arange(200.0), np.zeros(200, bool), 0.05) == Guarantee(199.0, 200, 0)


def test_the_promise_is_kept():
    """Over many draws, the true share of wrong answers exceeds the bound in 5% of them at most."""
    rng = np.random.default_rng(0)
    broken = draws = 0
    for _ in range(400):
        odds = rng.uniform(0, 1, 1000)
        is_wrong = rng.random(1000) < 0.4 * odds  # below threshold t a share of 0.2 t is wrong
        try:
            found = risk_threshold(odds, is_wrong, 0.1)
        except UserError:
            continue
        draws += 1
        broken += 0.2 * found.threshold > 0.1
    assert draws > 300
    assert broken <= binom.ppf(0.999, 400, 0.05)


def test_a_bound_that_cannot_be_shown_is_refused():
    with pytest.raises(UserError, match=r"no threshold .*\(117 answers without a mistake"):
        risk_threshold(np.arange(116.0), np.zeros(116, bool), 0.05)
    risk_threshold(np.arange(120.0), np.zeros(120, bool), 0.05)
    with pytest.raises(UserError, match="no threshold"):
        risk_threshold(np.arange(1000.0), np.arange(1000) % 2 == 0, 0.3)
    for wrong in (0.0, 1.0, math.nan):
        with pytest.raises(UserError, match=r"max_wrong must be in \(0, 1\)"):
            risk_threshold(np.arange(9.0), np.zeros(9, bool), wrong)

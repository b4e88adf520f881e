"""Bootstrap intervals and comparisons, against hand-worked cases, the normal approximation and a simulation."""

import math

import numpy as np
import pytest

from tinybert_jax.scoring import interval, metric_differences, metric_intervals, paired_bootstrap


def test_equal_scores_have_no_spread():
    assert interval([0.25] * 40) == (25, 25)
    assert interval([1.0]) == (100, 100)
    assert interval(np.zeros(3)) == (0, 0)


def test_two_questions_by_hand():
    # Means of two draws from {0, 1}: 0, 1/2, 1 with probability 1/4, 1/2, 1/4; both tails hold over 2.5%.
    assert interval([0.0, 1.0]) == (0, 100)


def test_of_many_questions_one_wrong():
    # Resamples without the wrong answer: (1 - 1/100)^100 = 37%. With it more than 3 times: 1.8%, more than 2: 7.9%.
    assert interval([0.0] + [1.0] * 99) == pytest.approx((97, 100))


@pytest.mark.parametrize(("right", "n"), [(700, 1000), (9000, 12000)])
def test_binary_scores_give_the_normal_interval(right, n):
    scores = np.repeat([1.0, 0.0], [right, n - right])
    share = right / n
    deviation = 100 * math.sqrt(share * (1 - share) / n)
    # A 2.5% quantile of 10,000 normal draws is off by 0.027 deviations (one sigma), plus a grid of 100 / n.
    low, high = interval(scores)
    assert low == pytest.approx(100 * share - 1.96 * deviation, abs=0.11 * deviation + 100 / n)
    assert high == pytest.approx(100 * share + 1.96 * deviation, abs=0.11 * deviation + 100 / n)


def test_the_interval_covers_the_truth_95_times_in_100():
    rng = np.random.default_rng(1)
    trials, truth = 400, 100 * 2 / 3  # the mean of a triangle on [0, 1] that peaks at 1
    covered = 0
    for trial in range(trials):
        low, high = interval(rng.triangular(0, 1, 1, size=200), resamples=1000, seed=trial)
        covered += low <= truth <= high
    assert 0.95 - 3 * 0.011 < covered / trials < 0.95 + 3 * 0.011  # sqrt(0.95 * 0.05 / 400) = 0.011


def test_a_seed_gives_the_same_resamples_again():
    scores = np.random.default_rng(0).random(300)
    assert interval(scores, seed=3) == interval(scores, seed=3) != interval(scores, seed=4)
    other = scores[::-1]
    assert paired_bootstrap(scores, other, seed=3) == paired_bootstrap(scores, other, seed=3)


def test_blocks_do_not_show():
    # 10,000 resamples of 30,000 questions are drawn a few at a time, the last time fewer: none is left out.
    low, high = interval(np.full(30_000, 0.5), resamples=37)
    assert (low, high) == (50, 50)


def test_identical_systems_do_not_differ():
    scores = np.random.default_rng(0).random(50)
    assert paired_bootstrap(scores, scores) == (0, 0, 0, 1)


def test_a_sure_difference():
    # Every resample has the same difference, none is at most 0: p = 2 (1 + 0) / (1 + 999).
    found = paired_bootstrap([1.0, 0.75, 0.5], [0.5, 0.25, 0.0], resamples=999)
    assert found == (50, 50, 50, 0.002)
    assert paired_bootstrap([0.5] * 3, [1.0] * 3, resamples=999) == (-50, -50, -50, 0.002)


def test_p_by_hand():
    # One question of two is better: a resample without it has the probability 1/4, so p is 1/2.
    found = paired_bootstrap([1.0, 0.0], [0.0, 0.0])
    assert found[:3] == (50, 0, 100)
    assert found.p == pytest.approx(0.5, abs=0.03)  # 3 sigma of 2 * 10,000 draws' share


def test_differences_that_cancel_are_ties():
    # Of the 27 resamples of 0.1, 0.2, -0.3 six hold each once: 0, were it not for rounding. At most 0 are 16 of 27,
    # at least 0 are 17: both are over half.
    a, b = [0.1, 0.2, 0.0], [0.0, 0.0, 0.3]
    assert sum(np.subtract(a, b)) > 0
    assert paired_bootstrap(a, b).p == paired_bootstrap(b, a).p == 1


def test_p_is_that_of_the_normal_test():
    rng = np.random.default_rng(0)
    differences = rng.normal(size=2000)
    differences += 0.04 - differences.mean()
    z = differences.mean() / differences.std() * math.sqrt(2000)
    expected = math.erfc(z / math.sqrt(2))
    assert 0.05 < expected < 0.1
    assert paired_bootstrap(differences, np.zeros(2000)).p == pytest.approx(expected, abs=0.012)  # 3 sigma


def test_pairs_are_resampled_together():
    # B is A less a little noise: unpaired, the questions' own spread would drown the difference.
    rng = np.random.default_rng(0)
    a = rng.random(500)
    b = a - 0.01 + rng.normal(0, 0.01, 500)
    found = paired_bootstrap(a, b)
    assert found.high - found.low == pytest.approx(100 * 2 * 1.96 * 0.01 / math.sqrt(500), rel=0.15)
    assert found.p < 0.001
    low, high = interval(a)
    assert high - low > 20 * (found.high - found.low)


def test_swapping_the_systems_turns_the_sign():
    rng = np.random.default_rng(2)
    a, b = rng.random(80), rng.random(80)
    there, back = paired_bootstrap(a, b), paired_bootstrap(b, a)
    assert there.mean == pytest.approx(100 * (a.mean() - b.mean()))
    assert (back.mean, back.low, back.high, back.p) == pytest.approx((-there.mean, -there.high, -there.low, there.p))


@pytest.mark.usefixtures("unchecked_shapes")
@pytest.mark.parametrize("scores", [[], 0.5, [[0.0, 1.0]]])
def test_scores_must_be_a_vector(scores):
    with pytest.raises(ValueError, match="vector of at least one question"):
        interval(scores)


def test_pairs_must_match():
    with pytest.raises(ValueError, match="as many on both sides, got 2 and 1"):
        paired_bootstrap([0.0, 1.0], [0.0])


def test_rounded_figures_for_people():
    a = {"exact": {"p": 1.0, "q": 0.0, "r": 1.0}, "f1": {"p": 1.0, "q": 2 / 3, "r": 2 / 3}}
    b = {"exact": {"r": 1.0, "q": 0.0, "p": 1.0}, "f1": {"r": 1 / 3, "q": 1 / 3, "p": 2 / 3}}  # paired by id
    assert metric_intervals(a) == {"exact_interval": [0.0, 100.0], "f1_interval": [66.67, 100.0]}
    assert metric_differences(a, b) == {
        "exact": {"mean": 0.0, "interval": [0.0, 0.0], "p": 1.0},
        "f1": {"mean": 33.33, "interval": [33.33, 33.33], "p": 0.0002},  # 2 / 10,001
    }


def test_a_difference_that_rounds_to_0_has_no_sign():
    found = metric_differences({"f1": {"p": 0.5}}, {"f1": {"p": 0.50001}})
    assert str(found["f1"]["mean"]) == "0.0"

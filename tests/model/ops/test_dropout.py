import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tinybert_jax.model.ops.dropout import dropout

SHAPE = (64, 128, 128)
COUNT = 2**20  # elements: a proportion p has standard deviation √(p (1 − p)) / 1024
compiled = jax.jit(dropout, static_argnums=1)


def kept(rate, seed=0, shape=SHAPE):
    return np.asarray(compiled(jnp.ones(shape), rate, jax.random.key(seed))) != 0


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_the_rate_is_met(rate):
    deviation = (rate * (1 - rate) / COUNT) ** 0.5
    assert abs(1 - kept(rate).mean() - rate) < 5 * deviation


def test_kept_elements_are_scaled_so_that_the_mean_stays():
    x = jnp.full(SHAPE, 3.0)
    y = np.asarray(compiled(x, 0.25, jax.random.key(0)))
    np.testing.assert_allclose(np.unique(y), [0, 4], rtol=1e-6)
    assert abs(y.mean() - 3) < 5 * 4 * (0.25 * 0.75 / COUNT) ** 0.5


def test_keys_draw_independent_masks():
    first, second = kept(0.5, seed=1), kept(0.5, seed=2)
    assert abs((first == second).mean() - 0.5) < 5 * 0.5 / 1024


@pytest.mark.parametrize("distance", [1, 2, 127, 128, 2**14, 2**19])
def test_neighbours_are_uncorrelated(distance):
    mask = kept(0.5).ravel()
    agree = (mask[distance:] == mask[:-distance]).mean()
    assert abs(agree - 0.5) < 5 * 0.5 / (COUNT - distance) ** 0.5


def test_rows_and_columns_are_dropped_at_the_rate():
    mask = kept(0.5)
    for axis in range(3):
        means = mask.mean(tuple({0, 1, 2} - {axis}))
        assert np.abs(means - 0.5).max() < 6 * 0.5 * (len(means) / COUNT) ** 0.5


def test_same_result_under_jit_and_in_any_layout():
    x, key = jnp.arange(1.0, 61.0), jax.random.key(3)
    expected = dropout(x, 0.3, key)
    np.testing.assert_array_equal(expected, compiled(x, 0.3, key))
    np.testing.assert_array_equal(expected.reshape(3, 4, 5), dropout(x.reshape(3, 4, 5), 0.3, key))


def test_rate_zero_and_the_type_are_kept():
    x = jnp.arange(8, dtype=jnp.bfloat16)
    np.testing.assert_array_equal(dropout(x, 0.0, jax.random.key(0)), x)
    assert dropout(x, 0.5, jax.random.key(0)).dtype == jnp.bfloat16


def test_the_gradient_passes_where_the_value_does():
    x = jnp.linspace(1, 2, 100)
    value, gradient = jax.value_and_grad(lambda x: dropout(x, 0.5, jax.random.key(0)).sum())(x)
    mask = dropout(x, 0.5, jax.random.key(0)) != 0
    np.testing.assert_array_equal(gradient, jnp.where(mask, 2, 0))
    assert value == pytest.approx(float((2 * x * mask).sum()), rel=1e-6)

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tinybert_jax.model.ops.layer_norm import LayerNorm, normalise

EPSILON = 1e-12


@pytest.fixture(scope="module")
def arrays():
    rng = np.random.default_rng(0)
    return tuple(jnp.asarray(rng.normal(size=shape), jnp.float32) for shape in ((3, 5, 16), (16,), (16,)))


def weighted(function, weights):
    return jax.jit(jax.value_and_grad(lambda *args: (function(*args) * weights).sum(), argnums=(0, 1, 2)))


def flax(x, scale, bias):
    norm = nn.LayerNorm(epsilon=EPSILON, use_fast_variance=False, dtype=jnp.float32)
    return norm.apply({"params": {"scale": scale, "bias": bias}}, x)


def test_value_and_gradients_are_flaxs(arrays):
    weights = np.random.default_rng(1).normal(size=(3, 5, 16)).astype(np.float32)
    ours = weighted(lambda *args: normalise(*args, EPSILON), weights)(*arrays)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5), ours, weighted(flax, weights)(*arrays)
    )


def test_by_hand():
    value = normalise(jnp.array([[1.0, 3.0]]), jnp.array([2.0, 1.0]), jnp.array([0.0, 5.0]), 0.0)
    np.testing.assert_allclose(value, [[-2.0, 6.0]])  # mean 2, standard deviation 1


def test_bfloat16_is_rounded_at_the_end_alone(arrays):
    x = jnp.asarray(arrays[0], jnp.bfloat16)
    value, pull_back = jax.vjp(lambda *args: normalise(*args, EPSILON), x, *arrays[1:])
    exact = flax(np.asarray(x, np.float32), *arrays[1:])
    np.testing.assert_array_equal(value, exact.astype(jnp.bfloat16))
    assert [gradient.dtype for gradient in pull_back(value)] == [jnp.bfloat16, jnp.float32, jnp.float32]


def test_a_large_mean_does_not_drown_the_variance():
    x = jnp.array([[4096.0, 4097.0, 4098.0, 4099.0]])
    np.testing.assert_allclose(normalise(x, np.ones(4, np.float32), np.zeros(4, np.float32), 0.0).std(), 1, rtol=1e-6)


def test_the_module_starts_as_standardisation(arrays):
    module = LayerNorm(EPSILON)
    params = module.init(jax.random.key(0), arrays[0])
    assert jax.tree.map(jnp.shape, params) == {"params": {"scale": (16,), "bias": (16,)}}
    value = module.apply(params, arrays[0])
    np.testing.assert_allclose(value.mean(-1), 0, atol=1e-6)
    np.testing.assert_allclose(value.std(-1), 1, rtol=1e-5)

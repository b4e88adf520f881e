from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tinybert_jax.model.ops.platform import CPU, GPU
from tinybert_jax.model.ops.products import exact_einsum, heads_first, matmul, transposed


@pytest.fixture(scope="module")
def arrays():
    rng = np.random.default_rng(0)
    return tuple(jnp.asarray(rng.normal(size=shape), jnp.float32) for shape in ((64, 32), (32, 48)))


def value_and_gradients(product, x, kernel):
    weights = np.random.default_rng(1).normal(size=(64, 48)).astype(np.float32)
    return jax.value_and_grad(lambda x, kernel: jnp.sum(product(x, kernel) * weights), argnums=(0, 1))(x, kernel)


def test_float32_is_the_plain_product(arrays):
    value, gradients = value_and_gradients(matmul, *arrays)
    expected, expected_gradients = value_and_gradients(jnp.matmul, *arrays)
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5), gradients, expected_gradients)


def test_bfloat16_multiplies_rounded_numbers_and_sums_in_float32(arrays):
    x, kernel = arrays
    rounded = [np.asarray(jnp.asarray(y, jnp.bfloat16), np.float32) for y in arrays]
    product = matmul(jnp.asarray(x, jnp.bfloat16), kernel)
    assert product.dtype == jnp.float32
    np.testing.assert_allclose(product, rounded[0] @ rounded[1], rtol=1e-5, atol=1e-5)
    _, (grad_x, grad_kernel) = value_and_gradients(matmul, jnp.asarray(x, jnp.bfloat16), kernel)
    assert (grad_x.dtype, grad_kernel.dtype) == (jnp.bfloat16, jnp.float32)
    weights = np.random.default_rng(1).normal(size=(64, 48)).astype(np.float32)
    weights = np.asarray(jnp.asarray(weights, jnp.bfloat16), np.float32)
    np.testing.assert_allclose(grad_kernel, rounded[0].T @ weights, rtol=1e-5, atol=1e-5)  # not rounded to bfloat16
    np.testing.assert_allclose(np.asarray(grad_x, np.float32), weights @ rounded[1].T, rtol=8e-3, atol=8e-3)


@pytest.mark.parametrize("shape", [(4, 6), (2, 3, 8, 10), (5, 6), (6, 5)])
def test_a_transposition_is_one_on_every_platform(shape):
    x = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    for platform in (CPU, GPU):
        np.testing.assert_array_equal(jax.jit(transposed, static_argnums=1)(x, platform), np.swapaxes(x, -1, -2))


@pytest.mark.parametrize("length", [4, 5])
def test_heads_come_first_on_every_platform(length):
    x = np.arange(2 * length * 3 * 2, dtype=np.float32).reshape(2, length, 3, 2)
    for platform in (CPU, GPU):
        np.testing.assert_array_equal(jax.jit(heads_first, static_argnums=1)(x, platform), np.swapaxes(x, 1, 2))


def test_only_on_a_cpu_are_operands_written_again():
    """A barrier keeps the compiler from undoing it: a cost without a use on any other device."""
    x = np.zeros((4, 6), np.float32)
    cpu, gpu = (str(jax.make_jaxpr(partial(transposed, platform=platform))(x)) for platform in (CPU, GPU))
    assert "optimization_barrier" in cpu
    assert "optimization_barrier" not in gpu


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("sizes", [(8, 4, 6), (8, 6, 4), (7, 4, 6), (7, 6, 4), (8, 5, 3), (2, 1, 1)])
def test_gradients_hold_for_any_size(sizes, dtype):
    rows, inputs, outputs = sizes
    rng = np.random.default_rng(0)
    x, kernel, weights = (
        jnp.asarray(rng.integers(-4, 5, shape), dtype) for shape in ((rows, inputs), (inputs, outputs), (rows, outputs))
    )
    _, pull_back = jax.vjp(matmul, x, kernel)
    grad_x, grad_kernel = jax.jit(pull_back)(weights.astype(jnp.float32))
    np.testing.assert_array_equal(grad_x, weights @ kernel.T)  # small integers: exact in either type
    np.testing.assert_array_equal(grad_kernel, x.T @ weights)


@pytest.mark.parametrize("platform", [CPU, GPU])
def test_exact_products_of_bfloat16_cancel_to_what_is_left(platform):
    """On a GPU they multiply as they are, and a float32 factor in two parts; the CPU can do so too."""
    rng = np.random.default_rng(0)
    x, y = (jnp.asarray(rng.normal(size=(64, 16)), jnp.bfloat16) for _ in range(2))
    wide = [np.asarray(z, np.float64) for z in (x, y)]
    compiled = jax.jit(partial(exact_einsum, platform=platform), static_argnums=0)
    np.testing.assert_allclose(compiled("th,tg->hg", x, y), wide[0].T @ wide[1], atol=1e-5)
    factor = np.float32(rng.normal(size=(16, 16)))
    product = compiled("th,hg->tg", x, jnp.asarray(factor))
    np.testing.assert_allclose(product, wide[0] @ factor, atol=(1e-5 if platform == CPU else 3e-4))
    assert np.abs(np.asarray(jnp.asarray(factor, x.dtype), np.float64) - factor).max() > 3e-3  # one part would show

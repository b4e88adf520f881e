import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tinybert_jax.model.ops.products import exact_einsum, matmul, transposed


@pytest.fixture(scope="module")
def arrays():
    rng = np.random.default_rng(0)
    return rng.normal(size=(64, 32)).astype(np.float32), rng.normal(size=(32, 48)).astype(np.float32)


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
    _, (of_x, of_kernel) = value_and_gradients(matmul, jnp.asarray(x, jnp.bfloat16), kernel)
    assert (of_x.dtype, of_kernel.dtype) == (jnp.bfloat16, jnp.float32)
    weights = np.random.default_rng(1).normal(size=(64, 48)).astype(np.float32)
    weights = np.asarray(jnp.asarray(weights, jnp.bfloat16), np.float32)
    np.testing.assert_allclose(of_kernel, rounded[0].T @ weights, rtol=1e-5, atol=1e-5)  # not rounded to bfloat16
    np.testing.assert_allclose(np.asarray(of_x, np.float32), weights @ rounded[1].T, rtol=8e-3, atol=8e-3)


@pytest.mark.parametrize("shape", [(4, 6), (2, 3, 8, 10), (5, 6), (6, 5)])
def test_a_transposition_laid_out_anew_is_a_transposition(shape):
    x = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    np.testing.assert_array_equal(jax.jit(transposed)(x), np.swapaxes(x, -1, -2))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("sizes", [(8, 4, 6), (8, 6, 4), (7, 4, 6), (7, 6, 4), (8, 5, 3), (2, 1, 1)])
def test_gradients_hold_for_any_size(sizes, dtype):
    rows, inputs, outputs = sizes
    rng = np.random.default_rng(0)
    x, kernel, weights = (
        jnp.asarray(rng.integers(-4, 5, shape), dtype) for shape in ((rows, inputs), (inputs, outputs), (rows, outputs))
    )
    _, pull_back = jax.vjp(matmul, x, kernel)
    of_x, of_kernel = jax.jit(pull_back)(weights.astype(jnp.float32))
    np.testing.assert_array_equal(of_x, weights @ kernel.T)  # small integers: exact in either type
    np.testing.assert_array_equal(of_kernel, x.T @ weights)


@pytest.mark.parametrize("backend", ["cpu", "gpu"])
def test_exact_products_of_bfloat16_cancel_to_what_is_left(monkeypatch, backend):
    """On a GPU they multiply as they are, and a float32 factor in two parts; the CPU can do so too."""
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    rng = np.random.default_rng(0)
    x, y = (jnp.asarray(rng.normal(size=(64, 16)), jnp.bfloat16) for _ in range(2))
    wide = [np.asarray(z, np.float64) for z in (x, y)]
    compiled = jax.jit(lambda *args: exact_einsum(*args), static_argnums=0)  # not the other backend's
    np.testing.assert_allclose(compiled("th,tg->hg", x, y), wide[0].T @ wide[1], atol=1e-5)
    factor = np.float32(rng.normal(size=(16, 16)))
    product = compiled("th,hg->tg", x, jnp.asarray(factor))
    np.testing.assert_allclose(product, wide[0] @ factor, atol=(1e-5 if backend == "cpu" else 3e-4))
    assert np.abs(np.asarray(jnp.asarray(factor, x.dtype), np.float64) - factor).max() > 3e-3  # one part would show

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tinybert_jax.model.ops.cpu_layout import as_one_matrix, heads_first, transposed


@pytest.mark.parametrize("shape", [(4, 6), (2, 3, 8, 10), (5, 6), (6, 5), (3, 0, 2)])
def test_transposed_is_a_transposition(shape):
    x = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    np.testing.assert_array_equal(jax.jit(transposed)(x), np.swapaxes(x, -1, -2))


@pytest.mark.parametrize("length", [1, 6, 7])
def test_heads_first_is_a_transposition(length):
    x = np.arange(2 * length * 12, dtype=np.float32).reshape(2, length, 3, 4)
    np.testing.assert_array_equal(jax.jit(heads_first)(x), np.swapaxes(x, 1, 2))


def test_one_matrix_holds_the_rows_in_order():
    x = jnp.arange(24.0).reshape(2, 3, 4)
    np.testing.assert_array_equal(as_one_matrix(x), [row for window in np.asarray(x) for row in window])

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tinybert_jax.distill.gram import squared_score_differences


def normal(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape)


def formed(q_s, k_s, q_t, k_t, rows, columns):
    student, teacher = (jnp.einsum("btnh,bsnh->bnts", q, k) * q.shape[-1] ** -0.5 for q, k in ((q_s, k_s), (q_t, k_t)))
    pairs = (rows[:, :, None] & columns[:, None, :])[:, None]
    return ((student - teacher) ** 2 * pairs).sum()


@pytest.mark.parametrize("teacher_width", [4, 6])
def test_value_and_all_gradients_are_the_formed_matrices(teacher_width):
    arrays = [normal(i, 2, length, 3, 4) for i, length in enumerate((7, 5))]
    arrays += [normal(i, 2, length, 3, teacher_width) for i, length in enumerate((7, 5), start=2)]
    rows, columns = np.arange(7) < np.array([[7], [3]]), np.arange(5) < np.array([[4], [5]])
    with jax.enable_x64(True):
        functions = [jax.value_and_grad(f, argnums=(0, 1, 2, 3)) for f in (squared_score_differences, formed)]
        (value, gradients), (expected, expected_gradients) = (f(*arrays, rows, columns) for f in functions)
    np.testing.assert_allclose(value, expected, rtol=1e-12)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-10), gradients, expected_gradients)


def test_gradients_have_the_type_of_what_they_are_of():
    arrays = [jnp.asarray(normal(i, 1, 4, 1, 2), "bfloat16") for i in range(4)]
    mask = np.ones((1, 4), bool)
    value, gradients = jax.value_and_grad(squared_score_differences, argnums=(0, 3))(*arrays, mask, mask)
    assert value.dtype == np.float32
    assert [gradient.dtype for gradient in gradients] == [arrays[0].dtype] * 2

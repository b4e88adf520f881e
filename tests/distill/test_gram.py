from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import jaxprs_in_params

from benchmarks.attention_memory import LOSSES, temp_bytes
from tinybert_jax.distill import losses
from tinybert_jax.distill.gram import score_mse_gram, squared_score_differences

MASK = np.arange(5) < np.array([5, 3])[:, None]  # (2, 5): 8 real tokens


def normal(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape)


def single(seed, *shape):
    return normal(seed, *shape).astype(np.float32)


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


# --- the mean over pairs of tokens -----------------------------------------------------------------------------------


def materialised(q_s, k_s, q_t, k_t, mask, padding="masked"):
    student, teacher = (jnp.einsum("btnh,bsnh->bnts", q, k) / q.shape[-1] ** 0.5 for q, k in ((q_s, k_s), (q_t, k_t)))
    queries = mask if padding == "masked" else jnp.broadcast_to(mask.any(1, keepdims=True), mask.shape)
    squares = jnp.where((queries[:, :, None] & mask[:, None, :])[:, None], (student - teacher) ** 2, 0)
    return squares.sum() / (q_s.shape[2] * (queries[:, :, None] & queries[:, None, :]).sum())


def student_of(kind, teacher_q, teacher_k):
    """Student queries and keys that are unlike the teacher's, nearly equal, or equal but for the basis."""
    shape = teacher_q.shape
    if kind == "random":
        return single(2, *shape), single(3, *shape)
    if kind == "other width":
        return single(2, *shape[:-1], 6), single(3, *shape[:-1], 6)
    if kind == "near":
        return teacher_q + 1e-3 * single(2, *shape), teacher_k + 1e-3 * single(3, *shape)
    rotation = np.linalg.qr(single(4, shape[-1], shape[-1]))[0]
    return teacher_q @ rotation + 0.1 * single(2, *shape), teacher_k @ rotation


def in_float64(function, arrays, *rest):
    """Value and gradients (of the student's arrays) of a function of (q_s, k_s, q_t, k_t), in float64."""
    with jax.enable_x64(True):
        exact = jax.jit(jax.value_and_grad(function, argnums=(0, 1)))
        return jax.device_get(exact(*(np.asarray(x, np.float64) for x in arrays), *rest))


@pytest.mark.parametrize("padding", ["masked", "counted"])
@pytest.mark.parametrize("kind", ["random", "other width", "near", "rotated"])
def test_attention_without_matrices_is_the_materialised_loss_in_float64(kind, padding):
    mask = np.arange(20) < np.array([20, 11, 0])[:, None]
    teacher = single(0, 3, 20, 2, 4), single(1, 3, 20, 2, 4)
    arrays = (*student_of(kind, *teacher), *teacher)
    positions = losses.positions_of(mask, padding)
    exact, exact_gradients = in_float64(partial(materialised, padding=padding), arrays, mask)
    double, double_gradients = in_float64(score_mse_gram, arrays, mask, positions)
    value, gradients = jax.jit(jax.value_and_grad(score_mse_gram, argnums=(0, 1)))(*arrays, mask, positions)
    np.testing.assert_allclose(double, exact, rtol=1e-9)
    np.testing.assert_allclose(value, exact, rtol=1e-5, atol=1e-6)  # scores are of order 1: rotations cancel
    for ours, ours_double, theirs in zip(gradients, double_gradients, exact_gradients, strict=True):
        np.testing.assert_allclose(ours_double, theirs, rtol=0, atol=1e-12)
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5 * np.abs(theirs).max())


ROWS = (1, 2, 16)  # batch, heads, head width


@pytest.mark.parametrize("padding", ["masked", "counted"])
def test_memory_of_the_loss_is_linear_in_length(padding):
    short, long = (temp_bytes(LOSSES["scores, Gram"], length, ROWS, padding) for length in (384, 1536))
    assert short < long < 4.5 * short


def test_memory_of_the_materialised_loss_is_quadratic_in_length():
    short, long = (temp_bytes(LOSSES["scores, materialised"], length, ROWS, "masked") for length in (384, 1536))
    assert long > 12 * short  # the check above does see a (T, S) matrix


def test_a_student_equal_to_its_teacher_has_no_loss():
    q, k = single(0, 2, 5, 2, 3), single(1, 2, 5, 2, 3)
    value, gradient = jax.value_and_grad(score_mse_gram)(q, k, q, k, MASK)
    assert value == 0
    assert not gradient.any()


def test_gram_reduces_in_float32_whatever_the_inputs():
    arrays = [jnp.asarray(single(i, 2, 5, 2, 3), jnp.bfloat16) for i in range(4)]
    value = score_mse_gram(*arrays, MASK)
    assert value.dtype == jnp.float32
    np.testing.assert_allclose(value, materialised(*(x.astype(jnp.float32) for x in arrays), MASK), rtol=1e-5)


def shapes_in(jaxpr):
    """Every array's shape in a jaxpr, inner ones included."""
    for equation in jaxpr.eqns:
        yield from (variable.aval.shape for variable in equation.outvars)
        for inner in jaxprs_in_params(equation.params):
            yield from shapes_in(inner)


def test_gram_never_holds_a_matrix_of_tokens_by_tokens():
    tokens = 37
    arguments = [jax.ShapeDtypeStruct((3, tokens, 2, 5), np.float32)] * 4
    mask = jax.ShapeDtypeStruct((3, tokens), bool)

    def worst(loss):
        jaxpr = jax.make_jaxpr(jax.value_and_grad(loss, argnums=(0, 1)))(*arguments, mask)
        return max(shape.count(tokens) for shape in shapes_in(jaxpr.jaxpr))

    assert worst(score_mse_gram) == 1
    assert worst(materialised) == 2  # the check does see them

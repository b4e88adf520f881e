import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import jaxprs_in_params
from jax.test_util import check_grads

from tinybert_jax.distill.relation_kl import relation_kl

MASK = np.arange(5) < np.array([5, 3, 0])[:, None]


def normal(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def formed(student, teacher, mask):
    """The same by its definition, through the matrices of all rows."""
    log_s, log_t = (
        jax.nn.log_softmax(
            jnp.where(mask[:, None, None], jnp.einsum("btah,bsah->bats", x, x) * x.shape[-1] ** -0.5, -1e30)
        )
        for x in (student, teacher)
    )
    pairs = (mask[:, :, None] & mask[:, None, :])[:, None]
    return jnp.where(pairs, jnp.exp(log_t) * (log_t - log_s), 0).sum() / (student.shape[2] * mask.sum())


def test_two_tokens_by_hand():
    # X·Xᵀ of the student: [[0, 0], [0, 1]]; of the teacher all 0, so that its relations are halves.
    student, teacher = np.array([0.0, 1.0], np.float32).reshape(1, 2, 1, 1), np.zeros((1, 2, 1, 1), np.float32)
    log_s = -np.log1p(np.exp([1.0, -1.0]))  # of the second row; the first is equal to the teacher's
    expected = (np.log(0.5) - log_s.mean()) / 2
    np.testing.assert_allclose(relation_kl(student, teacher, np.ones((1, 2), bool)), expected, rtol=1e-6)
    np.testing.assert_array_equal(relation_kl(student, teacher, np.array([[True, False]])), 0)  # a token by itself


def test_the_width_divides_the_scores():
    wide = np.tile(normal(0, 1, 4, 1, 1), 4)  # X·Xᵀ/√4 is twice that of the narrow one
    narrow = wide[..., :1] * 2**0.5
    np.testing.assert_allclose(relation_kl(wide, narrow, np.ones((1, 4), bool)), 0, atol=1e-6)


@pytest.mark.parametrize("tokens", [5, 150])  # of one block and of two
def test_value_and_gradient_are_the_formed_matrices(tokens):
    arrays = normal(0, 3, tokens, 2, 3), normal(1, 3, tokens, 2, 4)
    mask = np.arange(tokens) < np.array([tokens, tokens // 2, 0])[:, None]
    with jax.enable_x64(True):
        double = [np.asarray(x, np.float64) for x in arrays]
        (value, gradient), exact = (jax.jit(jax.value_and_grad(f))(*double, mask) for f in (relation_kl, formed))
        np.testing.assert_allclose(value, exact[0], rtol=1e-12)
        np.testing.assert_allclose(gradient, exact[1], atol=1e-12)
    single, single_gradient = jax.jit(jax.value_and_grad(relation_kl))(*arrays, mask)
    np.testing.assert_allclose(single, exact[0], rtol=1e-5)
    np.testing.assert_allclose(single_gradient, exact[1], rtol=0, atol=1e-5 * np.abs(exact[1]).max())


def test_gradients_are_those_of_the_value():
    check_grads(lambda s: relation_kl(s, normal(1, 3, 5, 2, 4), MASK), (normal(0, 3, 5, 2, 3),), 1, ["rev"], rtol=1e-2)


def test_jit_changes_nothing():
    arrays = normal(0, 3, 5, 2, 3), normal(1, 3, 5, 2, 4), MASK
    np.testing.assert_allclose(jax.jit(relation_kl)(*arrays), relation_kl(*arrays), rtol=1e-6)


def test_padding_is_not_read_and_has_no_gradient():
    student, teacher = normal(0, 3, 5, 2, 3), normal(1, 3, 5, 2, 3)
    function = jax.jit(jax.value_and_grad(relation_kl))
    clean = function(student, teacher, MASK)
    dirty = function(*(np.where(MASK[..., None, None], x, np.nan) for x in (student, teacher)), MASK)
    jax.tree.map(np.testing.assert_array_equal, clean, dirty)
    assert not np.asarray(clean[1])[~MASK].any()


def test_with_nothing_real_value_and_gradient_are_zero():
    value, gradient = jax.value_and_grad(relation_kl)(normal(0, 3, 5, 2, 3), normal(1, 3, 5, 2, 3), MASK & False)
    assert value == 0
    assert not gradient.any()


def test_a_student_equal_to_its_teacher_has_no_loss():
    x = normal(0, 3, 5, 2, 3)
    value, gradient = jax.value_and_grad(relation_kl)(x, x, MASK)
    assert value == 0
    assert not gradient.any()


def test_bfloat16_is_summed_in_float32():
    student, teacher = (jnp.asarray(normal(i, 3, 5, 2, 8), "bfloat16") for i in range(2))
    value, gradient = jax.value_and_grad(relation_kl)(student, teacher, MASK)
    exact, exact_gradient = jax.value_and_grad(relation_kl)(*(x.astype("float32") for x in (student, teacher)), MASK)
    assert (value.dtype, gradient.dtype) == (jnp.float32, jnp.bfloat16)
    np.testing.assert_allclose(value, exact, rtol=1e-5)
    error = np.abs(np.asarray(gradient, np.float32) - exact_gradient).max()
    assert error < 0.02 * np.abs(exact_gradient).max()


def shapes_in(jaxpr):
    """Every array's shape in a jaxpr, inner ones included."""
    for equation in jaxpr.eqns:
        yield from (variable.aval.shape for variable in equation.outvars)
        for inner in jaxprs_in_params(equation.params):
            yield from shapes_in(inner)


def test_the_matrix_of_all_rows_is_never_held():
    tokens = 300
    arguments = [jax.ShapeDtypeStruct((2, tokens, 2, 4), np.float32)] * 2 + [jax.ShapeDtypeStruct((2, tokens), bool)]

    def most(loss):
        return max(
            shape.count(tokens) for shape in shapes_in(jax.make_jaxpr(jax.value_and_grad(loss))(*arguments).jaxpr)
        )

    assert most(relation_kl) == 1
    assert most(formed) == 2  # the check does see them


@pytest.mark.usefixtures("unchecked_shapes")
def test_unlike_numbers_of_heads_are_named():
    with pytest.raises(ValueError, match=r"head by head: got student .* \(3, 5, 2\) and teacher \(3, 5, 4\)"):
        relation_kl(normal(0, 3, 5, 2, 4), normal(1, 3, 5, 4, 2), MASK)

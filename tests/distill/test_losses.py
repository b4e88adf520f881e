import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from tinybert_jax.distill import losses
from tinybert_jax.distill.gram import score_mse_gram

MASK = np.arange(5) < np.array([5, 3])[:, None]  # (2, 5): 8 real tokens
NOTHING = np.zeros_like(MASK)


def normal(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


# Each loss as a function of the student's arrays and the mask, (B, T) = (2, 5); N = 2, H = 3.
START, END = np.array([1, 0]), np.array([3, 2])


def centred_mse(q, k, mask):
    keys = (losses.centred(x, mask) for x in (k, normal(2, 2, 5, 2, 3)))
    return score_mse_gram(q, next(keys), normal(1, 2, 5, 2, 3), next(keys), mask)


CASES = {
    "hidden_mse": (lambda s, mask: losses.hidden_mse(s, normal(1, 2, 5, 4), mask), [(2, 5, 4)]),
    "attention_mse": (lambda s, mask: losses.attention_mse(s, normal(1, 2, 2, 5, 5), mask), [(2, 2, 5, 5)]),
    "score_mse_gram": (
        lambda q, k, mask: score_mse_gram(q, k, normal(1, 2, 5, 2, 3), normal(2, 2, 5, 2, 3), mask),
        [(2, 5, 2, 3), (2, 5, 2, 3)],
    ),
    "centred": (centred_mse, [(2, 5, 2, 3), (2, 5, 2, 3)]),
    "soft_cross_entropy": (lambda s, mask: losses.soft_cross_entropy(s, normal(1, 2, 5, 2), mask, 2.0), [(2, 5, 2)]),
    "null_cross_entropy": (lambda s, mask: losses.null_cross_entropy(s, normal(1, 2, 5, 2), mask), [(2, 5, 2)]),
    "span_cross_entropy": (lambda s, mask: losses.span_cross_entropy(s, START, END, mask), [(2, 5, 2)]),
}


@pytest.fixture(params=CASES)
def case(request):
    """(loss, the student's arrays)."""
    function, shapes = CASES[request.param]
    return function, [normal(10 + i, *shape) for i, shape in enumerate(shapes)]


def test_jit_changes_nothing(case):
    loss, student = case
    np.testing.assert_allclose(jax.jit(loss)(*student, MASK), loss(*student, MASK), rtol=1e-6)


def test_gradients_are_those_of_the_value(case):
    loss, student = case
    check_grads(lambda *s: loss(*s, MASK), student, order=1, modes=["rev"], atol=1e-2, rtol=1e-2, eps=1e-2)


def test_with_nothing_real_value_and_gradient_are_zero(case):
    loss, student = case
    value, gradients = jax.value_and_grad(loss, argnums=tuple(range(len(student))))(*student, NOTHING)
    assert value == 0
    assert all((gradient == 0).all() for gradient in gradients)


def test_padding_gets_no_gradient_and_its_content_is_not_read(case):
    loss, student = case
    poisoned = [np.where(real_of(s), s, 1e4).astype(np.float32) for s in student]
    every = tuple(range(len(student)))
    clean = jax.value_and_grad(loss, argnums=every)(*student, MASK)
    dirty = jax.value_and_grad(loss, argnums=every)(*poisoned, MASK)
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-6, atol=1e-7), clean, dirty)
    for s, gradient in zip(student, clean[1], strict=True):
        assert not np.where(real_of(s), 0, gradient).any()


def real_of(x):
    """Which elements of (B, T, …), or of (B, N, T, S), belong to real tokens alone."""
    if x.ndim == 4 and x.shape[2:] == (5, 5):
        return np.broadcast_to((MASK[:, :, None] & MASK[:, None, :])[:, None], x.shape)
    return np.broadcast_to(MASK.reshape(2, 5, *(1,) * (x.ndim - 2)), x.shape)


@pytest.mark.parametrize(
    ("loss", "axes", "shapes"),
    [
        (losses.hidden_mse, (1,), [(2, 5, 4)] * 2),
        (losses.attention_mse, (2, 3), [(2, 2, 5, 5)] * 2),
        (score_mse_gram, (1,), [(2, 5, 2, 3)] * 4),
        (losses.soft_cross_entropy, (1,), [(2, 5, 2)] * 2),
        (losses.null_cross_entropy, (1,), [(2, 5, 2)] * 2),
        (lambda s, mask: losses.span_cross_entropy(s, START, END, mask), (1,), [(2, 5, 2)]),
    ],
)
def test_padding_is_as_if_it_were_not_there(loss, axes, shapes):
    arrays = [normal(i, *shape) for i, shape in enumerate(shapes)]

    def pad(x):
        return np.pad(x, [(0, 3 if axis in axes else 0) for axis in range(x.ndim)], constant_values=7)

    mask = np.pad(MASK, [(0, 0), (0, 3)])
    np.testing.assert_allclose(loss(*map(pad, arrays), mask), loss(*arrays, MASK), rtol=1e-6)


# --- padding that counts ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("row", [(3, [1, 1, 1]), (1, [1, 0, 0]), (0, [0, 0, 0])])
def test_positions_of_a_row(row):
    real, _ = row
    mask = np.arange(3)[None] < real
    assert losses.positions_of(mask, "masked") is mask
    assert (losses.positions_of(mask, "counted") == (real > 0)).all()


def test_counted_padding_is_a_plain_mean():
    counted = losses.positions_of(MASK, "counted")
    student, teacher = normal(0, 2, 5, 4), normal(1, 2, 5, 4)
    np.testing.assert_allclose(
        losses.hidden_mse(student, teacher, counted), ((student - teacher) ** 2).mean(), rtol=1e-6
    )
    scores = [np.where(MASK[:, None, None, :], normal(i, 2, 2, 5, 5), 0) for i in range(2)]
    plain = ((scores[0] - scores[1]) ** 2).mean()
    np.testing.assert_allclose(losses.attention_mse(*scores, MASK, counted), plain, rtol=1e-6)
    logits = [normal(i, 2, 5, 2) for i in range(2)]
    everywhere = np.ones((2, 5), bool)
    for loss in (
        lambda where: losses.soft_cross_entropy(*logits, where),
        lambda where: losses.span_cross_entropy(logits[0], START, END, where),
    ):
        assert loss(counted) == loss(everywhere) != loss(MASK)


def test_filler_rows_weigh_nothing_where_padding_counts():
    mask = np.stack([MASK[1], np.zeros(5, bool)])
    counted, alone = losses.positions_of(mask, "counted"), losses.positions_of(mask[:1], "counted")
    student, teacher = normal(0, 2, 5, 4), normal(1, 2, 5, 4)
    np.testing.assert_allclose(
        losses.hidden_mse(student, teacher, counted), losses.hidden_mse(student[:1], teacher[:1], alone), rtol=1e-6
    )
    heads = [normal(i, 2, 5, 2, 3) for i in range(4)]
    both, first = score_mse_gram(*heads, mask, counted), score_mse_gram(*(x[:1] for x in heads), mask[:1], alone)
    np.testing.assert_allclose(both, first, rtol=1e-5)


# --- numbers worked out by hand --------------------------------------------------------------------------------------


def test_hidden_mse_by_hand():
    student = np.array([[[1.0, 2.0], [3.0, 4.0], [9.0, 9.0]]])
    teacher = np.array([[[0.0, 2.0], [3.0, 1.0], [0.0, 0.0]]])
    mask = np.array([[True, True, False]])
    assert losses.hidden_mse(student, teacher, mask) == (1 + 0 + 0 + 9) / 4


def test_attention_by_hand():
    queries = np.array([[[[1.0, 1.0, 0.0, 0.0]], [[2.0, 0.0, 0.0, 0.0]]]])  # one row, two tokens, one head of 4
    keys = np.array([[[[2.0, 0.0, 0.0, 0.0]], [[0.0, 4.0, 0.0, 0.0]]]])
    scores = losses.attention_scores(queries, keys)
    np.testing.assert_array_equal(scores, [[[[1.0, 2.0], [2.0, 0.0]]]])  # over √4
    both, first = np.array([[True, True]]), np.array([[True, False]])
    zeros = np.zeros_like(scores)
    assert losses.attention_mse(scores, zeros, both) == 9 / 4
    assert losses.attention_mse(scores, zeros, first) == 1
    still = np.zeros_like(queries)
    assert score_mse_gram(queries, keys, still, still, both) == 9 / 4
    assert score_mse_gram(queries, keys, still, still, first) == 1


def test_centred_keys_by_hand():
    keys = np.array([1.0, 5.0, 100.0], np.float32).reshape(1, 3, 1, 1)
    centred = losses.centred(keys, np.array([[True, True, False]]))
    np.testing.assert_array_equal(centred[0, :2, 0, 0], [-2.0, 2.0])  # their mean is 3; the third is padding


def test_centred_scores_have_no_mean_and_the_same_softmax():
    queries, keys = normal(0, 2, 5, 2, 3), 3 + normal(1, 2, 5, 2, 3)
    raw, centred = (losses.attention_scores(queries, k) for k in (keys, losses.centred(keys, MASK)))
    pairs = np.broadcast_to(MASK[:, None, None, :], raw.shape)
    np.testing.assert_allclose(centred.sum(-1, where=pairs), 0, atol=1e-5)
    softmax = [jax.nn.softmax(scores, where=pairs) for scores in (raw, centred)]
    np.testing.assert_allclose(*softmax, rtol=1e-5)


def test_centred_keys_keep_their_type_and_are_averaged_in_float32():
    keys = (100 + normal(0, 2, 5, 2, 3)).astype("bfloat16")
    centred = losses.centred(keys, MASK)
    assert centred.dtype == keys.dtype
    exact = losses.centred(keys.astype(np.float32), MASK)
    np.testing.assert_allclose(np.asarray(centred, np.float32), exact, rtol=2**-8)


def test_attention_mse_averages_over_heads():
    scores = np.stack([np.full((2, 2), 2.0), np.zeros((2, 2))])[None]  # (1, 2, 2, 2): one head off by 2
    assert losses.attention_mse(scores, np.zeros_like(scores), np.ones((1, 2), bool)) == 2


def test_soft_cross_entropy_by_hand():
    # Start: teacher (1/2, 1/2), student (1/4, 3/4). End: both certain of nothing, (1/2, 1/2). A third token is padding.
    student = np.log(np.array([[[1.0, 1.0], [3.0, 1.0], [50.0, 50.0]]]))
    teacher = np.zeros((1, 3, 2))
    mask = np.array([[True, True, False]])
    expected = -(math.log(1 / 4) + math.log(3 / 4)) / 2 + math.log(2)
    assert losses.soft_cross_entropy(student, teacher, mask) == pytest.approx(expected, rel=1e-6)


def test_temperature_divides_both_logits():
    student, teacher = normal(0, 2, 5, 2), normal(1, 2, 5, 2)
    hot = losses.soft_cross_entropy(student, teacher, MASK, 3.0)
    np.testing.assert_allclose(hot, losses.soft_cross_entropy(student / 3, teacher / 3, MASK), rtol=1e-6)


def test_null_cross_entropy_by_hand():
    # Probabilities of the [CLS] 1/2 for the start and 1/4 for the end, so P = 1/8; the teacher's 3/4 · 1/3 = 1/4.
    student = np.log([[[2.0, 1.0], [1.0, 2.0], [1.0, 1.0], [9.0, 9.0]]])
    teacher = np.log([[[6.0, 1.0], [1.0, 1.0], [1.0, 1.0], [9.0, 9.0]]])
    mask = np.arange(4)[None] < 3
    expected = -(np.log(1 / 8) / 4 + 3 * np.log(7 / 8) / 4)
    np.testing.assert_allclose(losses.null_cross_entropy(student, teacher, mask), expected, rtol=1e-6)


@pytest.mark.parametrize("sure", [60.0, -60.0])
def test_the_null_score_s_gradient_lasts_where_the_student_is_sure(sure):
    def loss(at_cls, other):
        logits = [np.array([[[x, x], [0.0, 0.0], [0.0, 0.0]]], np.float32) for x in (0.0, other)]
        student = logits[0] + jnp.zeros((1, 3, 2)).at[:, 0].add(at_cls)
        return losses.null_cross_entropy(student, logits[1], np.ones((1, 3), bool))

    value, slope = jax.value_and_grad(loss)(sure, -sure)
    assert np.isfinite(value)
    assert value > 50
    assert np.sign(slope) == np.sign(sure)
    assert abs(slope) > 0.9


def test_span_cross_entropy_by_hand():
    logits = np.log(np.array([[[1.0, 1.0], [3.0, 1.0], [50.0, 50.0]]]))
    mask = np.array([[True, True, False]])
    start, end = np.array([1]), np.array([0])
    expected = -(math.log(3 / 4) + math.log(1 / 2)) / 2
    assert losses.span_cross_entropy(logits, start, end, mask) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("loss", ["soft", "hard"])
def test_filler_rows_weigh_nothing(loss):
    student, teacher = normal(0, 2, 5, 2), normal(1, 2, 5, 2)
    one_real = MASK & [[True], [False]]

    def value(rows, mask):
        if loss == "soft":
            return losses.soft_cross_entropy(student[rows], teacher[rows], mask[rows])
        return losses.span_cross_entropy(student[rows], START[rows], END[rows], mask[rows])

    np.testing.assert_allclose(value([0, 1], one_real), value([0], MASK), rtol=1e-6)


# --- against PyTorch -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_soft_cross_entropy_is_torchs_divergence_plus_entropy(temperature):
    torch = pytest.importorskip("torch")
    student, teacher = normal(0, 2, 5, 2), normal(1, 2, 5, 2)
    log_s, log_t = (torch.tensor(x / temperature).log_softmax(1) for x in (student, teacher))
    divergence = torch.nn.functional.kl_div(log_s, log_t, log_target=True, reduction="sum") / 2
    entropy = -(log_t.exp() * log_t).sum() / 2
    ours = losses.soft_cross_entropy(student, teacher, np.ones((2, 5), bool), temperature)
    np.testing.assert_allclose(ours, divergence + entropy, rtol=1e-5)


def test_span_cross_entropy_is_torchs():
    torch = pytest.importorskip("torch")
    logits = normal(0, 2, 5, 2)
    theirs = [
        torch.nn.functional.cross_entropy(torch.tensor(logits[..., i]), torch.tensor(labels))
        for i, labels in enumerate((START, END))
    ]
    ours = losses.span_cross_entropy(logits, START, END, np.ones((2, 5), bool))
    np.testing.assert_allclose(ours, sum(theirs) / 2, rtol=1e-5)


# --- shapes that do not fit ------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("unchecked_shapes")
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: losses.hidden_mse(normal(0, 2, 5, 3), normal(0, 2, 5, 4), MASK), r"\(2, 5, 3\).*\(2, 5, 4\)"),
        (
            lambda: losses.attention_mse(normal(0, 2, 2, 5, 5), normal(0, 2, 3, 5, 5), MASK),
            r"\(2, 2, 5, 5\).*\(2, 3, 5, 5\)",
        ),
        (
            lambda: score_mse_gram(*[normal(0, 2, 5, 2, 3)] * 2, *[normal(0, 2, 5, 3, 2)] * 2, MASK),
            r"\(2, 5, 2\).*\(2, 5, 3\)",
        ),
        (  # one head would broadcast
            lambda: score_mse_gram(*[normal(0, 2, 5, 2, 3)] * 2, *[normal(0, 2, 5, 1, 3)] * 2, MASK),
            r"\(2, 5, 2\).*\(2, 5, 1\)",
        ),
        (lambda: losses.soft_cross_entropy(normal(0, 2, 5, 2), normal(0, 2, 4, 2), MASK), r"\(2, 5, 2\).*\(2, 4, 2\)"),
    ],
)
def test_shapes_that_do_not_fit_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()

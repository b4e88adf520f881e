"""The equations of TinyBERT (Jiao et al. 2020, section 3.1) and two of our own, one function each.

All reduce in float32, or in float64 where that is given. Two masks (B, T) appear. `mask` is True at real tokens; a
batch's filler rows have none. `positions` is what a mean runs over: the real tokens, or everything where padding is
to count, as in haystack and in Huawei's code (`positions_of`). With nothing real the loss is 0, never NaN.
"""

from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Int

from tinybert_jax.arrays import AnyArray

Padding = Literal["masked", "counted"]


def positions_of(mask: Bool[AnyArray, "B T"], padding: Padding) -> Bool[AnyArray, "B T"]:
    """What a mean runs over: the real tokens, or every position of the rows that hold one."""
    return mask if padding == "masked" else jnp.broadcast_to(mask.any(-1, keepdims=True), mask.shape)


def _check_same_shape(name: str, student: AnyArray, teacher: AnyArray) -> None:
    if student.shape != teacher.shape:
        raise ValueError(f"{name} must have one shape, got student {student.shape} and teacher {teacher.shape}")


def _at_least_float32(x: AnyArray) -> AnyArray:
    return x.astype(jnp.result_type(x, jnp.float32))


def _mean(total: Float[Array, ""], count: Any) -> Float[Array, ""]:
    return total / jnp.maximum(count, 1)


def hidden_mse(
    student: Float[AnyArray, "B T D"], teacher: Float[AnyArray, "B T D"], positions: Bool[AnyArray, "B T"]
) -> Float[Array, ""]:
    """Mean squared error between hidden states (equations 8 and 9, the student's projected already).

    Args:
        student: hidden states.
        teacher: hidden states.
        positions: True where the mean runs.
    """
    _check_same_shape("hidden states", student, teacher)
    squares = jnp.where(positions[..., None], (_at_least_float32(student) - _at_least_float32(teacher)) ** 2, 0)
    return _mean(squares.sum(), positions.sum() * teacher.shape[-1])


def mean_over_pairs(total: Float[Array, ""], positions: Bool[AnyArray, "B T"], heads: int) -> Float[Array, ""]:
    """A sum over heads and pairs of positions, divided by their number.

    Args:
        total: the sum.
        positions: True at those that make the pairs.
        heads: N.
    """
    return _mean(total, heads * (positions.sum(-1, dtype=jnp.float32) ** 2).sum())


def attention_scores(queries: Float[AnyArray, "B T N H"], keys: Float[AnyArray, "B S N H"]) -> Float[Array, "B N T S"]:
    """Pre-softmax scores Q·Kᵀ/√H, in float32."""
    kind = jnp.result_type(queries, jnp.float32)
    return jnp.einsum("btnh,bsnh->bnts", queries, keys, preferred_element_type=kind) * queries.shape[-1] ** -0.5


def centred(keys: Float[AnyArray, "B S N H"], mask: Bool[AnyArray, "B S"]) -> Float[Array, "B S N H"]:
    """Keys less their mean over the window's real tokens, in their type.

    Their scores are the same less each query's mean, q · (k − k̄): softmax gives the same probabilities.

    Args:
        keys: of every token and head.
        mask: True at real tokens.
    """
    wide, real = jnp.asarray(_at_least_float32(keys)), mask[..., None, None]
    mean = jnp.where(real, wide, 0).sum(1, keepdims=True) / jnp.maximum(real.sum(1, keepdims=True), 1)
    return (wide - mean).astype(keys.dtype)


def attention_mse(
    student: Float[AnyArray, "B N T T"],
    teacher: Float[AnyArray, "B N T T"],
    mask: Bool[AnyArray, "B T"],
    positions: Bool[AnyArray, "B T"] | None = None,
) -> Float[Array, ""]:
    """Mean squared error between attention matrices, of scores (equation 7) or of probabilities.

    Entries at masked keys count as equal.

    Args:
        student: of each query (rows) and key (columns).
        teacher: of the same.
        mask: True at real tokens.
        positions: the mean runs over pairs of these; None for the real tokens.
    """
    _check_same_shape("attention matrices", student, teacher)
    positions = mask if positions is None else positions
    pairs = (positions[:, :, None] & mask[:, None, :])[:, None]
    squares = jnp.where(pairs, (_at_least_float32(student) - _at_least_float32(teacher)) ** 2, 0)
    return mean_over_pairs(squares.sum(), positions, student.shape[1])


def _log_softmax_over_tokens(
    logits: Float[AnyArray, "B T 2"], positions: Bool[AnyArray, "B T"]
) -> Float[Array, "B T 2"]:
    logits = _at_least_float32(logits)
    # The least finite number, not −inf: a filler row has no position, and its gradient would be NaN.
    return jax.nn.log_softmax(jnp.where(positions[..., None], logits, jnp.finfo(logits.dtype).min), axis=1)


def soft_cross_entropy(
    student: Float[AnyArray, "B T 2"],
    teacher: Float[AnyArray, "B T 2"],
    positions: Bool[AnyArray, "B T"],
    temperature: Float[AnyArray, ""] | float = 1.0,
) -> Float[Array, ""]:
    """Cross-entropy of the student's start and end distributions against the teacher's (equation 10).

    −Σ_tokens softmax(z_t / τ) · log softmax(z_s / τ), summed over start and end, averaged over windows. It differs
    from KL by the teacher's entropy, so gradients are the same.

    Args:
        student: logits.
        teacher: logits.
        positions: only these take part in the softmax.
        temperature: τ.
    """
    _check_same_shape("logits", student, teacher)
    log_student = _log_softmax_over_tokens(student / temperature, positions)
    soft_labels = jnp.exp(_log_softmax_over_tokens(teacher / temperature, positions))
    terms = jnp.where(positions[..., None], soft_labels * log_student, 0)
    return _mean(-terms.sum(), positions.any(-1).sum())


def span_cross_entropy(
    logits: Float[AnyArray, "B T 2"],
    start: Int[AnyArray, " B"],
    end: Int[AnyArray, " B"],
    positions: Bool[AnyArray, "B T"],
) -> Float[Array, ""]:
    """Cross-entropy of the labelled start and end, the two averaged, averaged over windows.

    Args:
        logits: of the start and of the end.
        start: positions of the answers' first tokens; 0, the [CLS], where the window holds none.
        end: positions of the last tokens, inclusive.
        positions: only these take part in the softmax.
    """
    log_probs = _log_softmax_over_tokens(logits, positions)
    # A look-up along the axis, not by row numbers: XLA then knows that every row stays on its device.
    spans = jnp.stack([start, end], -1)[:, None, :]
    labelled = jnp.take_along_axis(log_probs, spans, axis=1)[:, 0].mean(-1)
    real = positions.any(-1)
    return _mean(-jnp.where(real, labelled, 0).sum(), real.sum())


def null_cross_entropy(
    student: Float[AnyArray, "B T 2"], teacher: Float[AnyArray, "B T 2"], positions: Bool[AnyArray, "B T"]
) -> Float[Array, ""]:
    """Cross-entropy of the student's "no answer" against the teacher's, averaged over windows.

    P, the probability of no answer, is that of start and end both at the [CLS], each drawn from its own softmax:
    the null score against all other spans, −P_t · log P_s − (1 − P_t) · log (1 − P_s).

    Args:
        student: logits.
        teacher: logits.
        positions: only these take part in the softmax.
    """
    _check_same_shape("logits", student, teacher)
    ours, theirs = (_null_log_odds(logits, positions) for logits in (student, teacher))
    p_t = jax.nn.sigmoid(theirs)
    terms = p_t * jax.nn.log_sigmoid(ours) + (1 - p_t) * jax.nn.log_sigmoid(-ours)
    real = positions.any(-1)
    return _mean(-jnp.where(real, terms, 0).sum(), real.sum())


def _null_log_odds(logits: Float[AnyArray, "B T 2"], positions: Bool[AnyArray, "B T"]) -> Float[Array, " B"]:
    """The log-odds of P, log (P / (1 − P))."""
    log_probs = _log_softmax_over_tokens(logits, positions)
    at_cls = log_probs[:, 0]
    elsewhere = (positions & (jnp.arange(positions.shape[1]) > 0))[..., None]
    rest = jax.nn.logsumexp(jnp.where(elsewhere, log_probs, jnp.finfo(log_probs.dtype).min), axis=1)
    # 1 − P: the start elsewhere, or the start at the [CLS] and the end elsewhere. A difference from 1 would cancel.
    return at_cls.sum(-1) - jnp.logaddexp(rest[:, 0], at_cls[:, 0] + rest[:, 1])

"""The equations of TinyBERT (Jiao et al. 2020, section 3.1), one function each.

All reduce in float32, or in float64 where that is given. Two masks (B, T) appear. `mask` is True at real tokens; a
batch's filler rows have none. `positions` is what a mean runs over: the real tokens, or everything where padding is
to count, as in haystack and in Huawei's code (`positions_of`). With nothing real the loss is 0, never NaN.
"""

from typing import Literal

import jax
import jax.numpy as jnp
from jax import Array

Padding = Literal["masked", "counted"]


def positions_of(mask: Array, padding: Padding) -> Array:
    """What a mean runs over, (B, T): the real tokens, or every position of the rows that hold one."""
    return mask if padding == "masked" else jnp.broadcast_to(mask.any(-1, keepdims=True), mask.shape)


def _check_same_shape(name: str, student: Array, teacher: Array) -> None:
    if student.shape != teacher.shape:
        raise ValueError(f"{name} must have one shape, got student {student.shape} and teacher {teacher.shape}")


def _at_least_float32(x: Array) -> Array:
    return x.astype(jnp.result_type(x, jnp.float32))


def _mean(total: Array, count: Array) -> Array:
    return total / jnp.maximum(count, 1)


def hidden_mse(student: Array, teacher: Array, positions: Array) -> Array:
    """Mean squared error between hidden states (equations 8 and 9, the student's projected already).

    Args:
        student: (B, T, D).
        teacher: (B, T, D).
        positions: (B, T), True where the mean runs.
    """
    _check_same_shape("hidden states", student, teacher)
    squares = jnp.where(positions[..., None], (_at_least_float32(student) - _at_least_float32(teacher)) ** 2, 0)
    return _mean(squares.sum(), positions.sum() * teacher.shape[-1])


def mean_over_pairs(total: Array, positions: Array, heads: int) -> Array:
    """A sum over heads and pairs of positions, divided by their number.

    Args:
        total: ().
        positions: (B, T), True at those that make the pairs.
        heads: N.
    """
    return _mean(total, heads * (positions.sum(-1, dtype=jnp.float32) ** 2).sum())


def attention_scores(queries: Array, keys: Array) -> Array:
    """Pre-softmax scores Q·Kᵀ/√H: (B, T, N, H), (B, S, N, H) → (B, N, T, S), in float32."""
    kind = jnp.result_type(queries, jnp.float32)
    return jnp.einsum("btnh,bsnh->bnts", queries, keys, preferred_element_type=kind) * queries.shape[-1] ** -0.5


def attention_mse(student: Array, teacher: Array, mask: Array, positions: Array | None = None) -> Array:
    """Mean squared error between attention matrices, of scores (equation 7) or of probabilities.

    Entries at masked keys count as equal.

    Args:
        student: (B, N, T, S).
        teacher: (B, N, T, S).
        mask: (B, T), True at real tokens; T = S.
        positions: (B, T), the mean runs over pairs of these; None for the real tokens.
    """
    _check_same_shape("attention matrices", student, teacher)
    positions = mask if positions is None else positions
    pairs = (positions[:, :, None] & mask[:, None, :])[:, None]
    squares = jnp.where(pairs, (_at_least_float32(student) - _at_least_float32(teacher)) ** 2, 0)
    return mean_over_pairs(squares.sum(), positions, student.shape[1])


def _log_softmax_over_tokens(logits: Array, positions: Array) -> Array:
    logits = _at_least_float32(logits)
    return jax.nn.log_softmax(jnp.where(positions[..., None], logits, jnp.finfo(logits.dtype).min), axis=1)


def soft_cross_entropy(student: Array, teacher: Array, positions: Array, temperature: Array | float = 1.0) -> Array:
    """Cross-entropy of the student's start and end distributions against the teacher's (equation 10).

    −Σ_tokens softmax(z_t / τ) · log softmax(z_s / τ), summed over start and end, averaged over windows. It differs
    from KL by the teacher's entropy, so gradients are the same.

    Args:
        student: (B, T, 2) logits.
        teacher: (B, T, 2) logits.
        positions: (B, T): only these take part in the softmax.
        temperature: τ.
    """
    _check_same_shape("logits", student, teacher)
    log_student = _log_softmax_over_tokens(student / temperature, positions)
    soft_labels = jnp.exp(_log_softmax_over_tokens(teacher / temperature, positions))
    terms = jnp.where(positions[..., None], soft_labels * log_student, 0)
    return _mean(-terms.sum(), positions.any(-1).sum())


def span_cross_entropy(logits: Array, start: Array, end: Array, positions: Array) -> Array:
    """Cross-entropy of the labelled start and end, the two averaged, averaged over windows.

    Args:
        logits: (B, T, 2).
        start: (B,) positions of the answers' first tokens; 0, the [CLS], where the window holds none.
        end: (B,) positions of the last tokens, inclusive.
        positions: (B, T): only these take part in the softmax.
    """
    log_probs = _log_softmax_over_tokens(logits, positions)
    # A look-up along the axis, not by row numbers: XLA then knows that every row stays on its device.
    spans = jnp.stack([start, end], -1)[:, None, :]
    labelled = jnp.take_along_axis(log_probs, spans, axis=1)[:, 0].mean(-1)
    real = positions.any(-1)
    return _mean(-jnp.where(real, labelled, 0).sum(), real.sum())

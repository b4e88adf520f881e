"""How far a student's relations between tokens are from its teacher's, without a (T, T) matrix of all rows."""

from functools import partial

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float

from tinybert_jax.arrays import AnyArray
from tinybert_jax.model.ops.attention import scaled_scores
from tinybert_jax.model.ops.platform import PORTABLE, Platform
from tinybert_jax.model.ops.products import at_least_float32, heads_first

_BLOCK = 128  # rows at a time


def relation_kl(
    student: Float[AnyArray, "B T A H_s"],
    teacher: Float[AnyArray, "B T A H_t"],
    mask: Bool[AnyArray, "B T"],
    platform: Platform = PORTABLE,
) -> Float[Array, ""]:
    """Mean, over heads and real tokens, of KL(R_t ‖ R_s), where R = softmax(X·Xᵀ/√H) over the real tokens.

    Equations 4 and 5 of MiniLMv2 (Wang et al. 2021), for queries, keys or values X. The gradient goes to the student
    alone. It is computed with the value, block by block of rows, as a row's is known once the row is: nothing of
    (T, T) is kept or computed twice.

    Args:
        student: queries, keys or values of every token and relation head.
        teacher: the teacher's; widths of heads may differ, their number may not.
        mask: True at real tokens.
        platform: what it runs on.
    """
    if student.shape[:3] != teacher.shape[:3]:
        raise ValueError(
            "relations are compared head by head: got student (B, T, A) "
            f"{student.shape[:3]} and teacher {teacher.shape[:3]}"
        )
    return _relation_kl(student, teacher, mask, platform)


@partial(jax.custom_vjp, nondiff_argnums=(3,))
def _relation_kl(student: AnyArray, teacher: AnyArray, mask: AnyArray, platform: Platform) -> Array:
    return _forward(student, teacher, mask, platform)[0]


def _forward(student: AnyArray, teacher: AnyArray, mask: AnyArray, platform: Platform) -> tuple[Array, Array]:
    """The value, and its gradient by the student's array."""
    s, t = (heads_first(jnp.where(mask[..., None, None], x, 0), platform) for x in (student, teacher))
    count = jnp.maximum(s.shape[1] * mask.sum(dtype=jnp.float32), 1)

    def add(sums: tuple[Array, Array], block: tuple[Array, Array, Array]) -> tuple[tuple[Array, Array], Array]:
        rows_s, rows_t, real = block
        scores, pull = jax.vjp(partial(scaled_scores, platform=platform), rows_s, s)
        log_s, log_t = (_log_softmax(x, mask) for x in (scores, scaled_scores(rows_t, t, platform)))
        pairs, p_t = (real[:, :, None] & mask[:, None, :])[:, None], jnp.exp(log_t)
        total = sums[0] + jnp.where(pairs, p_t * (log_t - log_s), 0).sum()
        by_rows, by_columns = pull(jnp.where(pairs, jnp.exp(log_s) - p_t, 0))
        return (total, sums[1] + by_columns), at_least_float32(by_rows)

    zero = jnp.zeros_like(at_least_float32(s))
    (total, by_columns), by_rows = jax.lax.scan(add, (zero.sum(), zero), (_split(s, 2), _split(t, 2), _split(mask, 1)))
    by_rows = jnp.moveaxis(by_rows, 0, 2).reshape(*s.shape[:2], -1, s.shape[3])[:, :, : s.shape[2]]
    gradient = jnp.swapaxes(by_rows + by_columns, 1, 2) / count
    return total / count, jnp.where(mask[..., None, None], gradient, 0).astype(student.dtype)


def _backward(platform: Platform, by_student: Array, gradient: AnyArray) -> tuple[AnyArray | None, ...]:
    return (gradient * by_student).astype(by_student.dtype), None, None


_relation_kl.defvjp(_forward, _backward)


def _log_softmax(scores: Float[Array, "B A R T"], mask: Bool[AnyArray, "B T"]) -> Float[Array, "B A R T"]:
    # The least finite number, not −∞: a filler row has no real token, and would be NaN.
    return jax.nn.log_softmax(jnp.where(mask[:, None, None, :], scores, jnp.finfo(scores.dtype).min))


def _split(x: AnyArray, axis: int) -> Array:
    """Equal blocks of rows, the last one padded, on a new first axis."""
    blocks = -(-x.shape[axis] // _BLOCK)
    size = -(-x.shape[axis] // blocks)
    pads = [(0, blocks * size - x.shape[axis] if i == axis else 0) for i in range(x.ndim)]
    return jnp.moveaxis(jnp.pad(x, pads).reshape(*x.shape[:axis], blocks, size, *x.shape[axis + 1 :]), axis, 0)

"""Squared differences of attention scores, and their gradients, without a (T, S) matrix."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float

from tinybert_jax.arrays import AnyArray
from tinybert_jax.distill.losses import mean_over_pairs
from tinybert_jax.model.ops.platform import PORTABLE, Platform
from tinybert_jax.model.ops.products import at_least_float32, exact_einsum


def score_mse_gram(
    student_queries: Float[AnyArray, "B T N H_s"],
    student_keys: Float[AnyArray, "B T N H_s"],
    teacher_queries: Float[AnyArray, "B T N H_t"],
    teacher_keys: Float[AnyArray, "B T N H_t"],
    mask: Bool[AnyArray, "B T"],
    positions: Bool[AnyArray, "B T"] | None = None,
    platform: Platform = PORTABLE,
) -> Float[Array, ""]:
    """`losses.attention_mse` of attention scores, without ever forming a (T, S) matrix: from Gram matrices, and exact.

    Args:
        student_queries: of every token and head.
        student_keys: of every token and head.
        teacher_queries: as the student's; head widths may differ, numbers of heads may not.
        teacher_keys: as the student's.
        mask: True at real tokens.
        positions: the mean runs over pairs of these; None for the real tokens.
        platform: what it runs on.
    """
    if student_queries.shape[:3] != teacher_queries.shape[:3]:
        raise ValueError(
            "attention can be compared head by head only, "
            f"got student (B, T, N) {student_queries.shape[:3]} and teacher {teacher_queries.shape[:3]}"
        )
    positions = mask if positions is None else positions
    arrays = (student_queries, student_keys, teacher_queries, teacher_keys)
    total = squared_score_differences(*arrays, positions, mask, platform)
    return mean_over_pairs(total, positions, student_queries.shape[2])


def squared_score_differences(
    student_queries: Float[AnyArray, "B T N H_s"],
    student_keys: Float[AnyArray, "B S N H_s"],
    teacher_queries: Float[AnyArray, "B T N H_t"],
    teacher_keys: Float[AnyArray, "B S N H_t"],
    rows: Bool[AnyArray, "B T"],
    columns: Bool[AnyArray, "B S"],
    platform: Platform = PORTABLE,
) -> Float[Array, ""]:
    """Σ (S_s − S_t)² over windows, heads, `rows` and `columns`, where S = Q·Kᵀ/√H.

    The difference of the two score matrices is one product of thin matrices, S_s − S_t = A·C·Bᵀ, where A and B hold
    both models' queries and keys side by side and C is diagonal, so that Σ (S_s − S_t)² = ⟨C·AᵀA·C, BᵀB⟩: O(T·H²) work
    and O(H²) memory a head, and exact. Its gradient by Q_s is 2·A·C·(BᵀK_s)/√H, and so on by the others: less work
    than differentiating ⟨,⟩.

    Args:
        student_queries: of every row and head.
        student_keys: of every column and head.
        teacher_queries: as the student's; head widths may differ, numbers of heads may not.
        teacher_keys: as the student's.
        rows: those that count.
        columns: those that count.
        platform: what it runs on.
    """
    return _squared_differences(student_queries, student_keys, teacher_queries, teacher_keys, rows, columns, platform)


@partial(jax.custom_vjp, nondiff_argnums=(6,))
def _squared_differences(
    q_s: AnyArray, k_s: AnyArray, q_t: AnyArray, k_t: AnyArray, rows: AnyArray, columns: AnyArray, platform: Platform
) -> Array:
    a, b, scale = _factors(q_s, k_s, q_t, k_t, rows, columns)
    gram_a, gram_b = (exact_einsum("bnth,bntg->bnhg", x, x, platform) for x in (a, b))
    return (scale[:, None] * scale * gram_a * gram_b).sum()  # the scale is C's diagonal, on either side of AᵀA


def _forward(*arguments: Any) -> tuple[Array, tuple[AnyArray, ...]]:
    value: Array = _squared_differences(*arguments)
    return value, arguments[:-1]  # all but the platform


def _backward(platform: Platform, arrays: tuple[AnyArray, ...], gradient: Array) -> tuple[Array | None, ...]:
    # Without the barrier XLA keeps the forward's factors, which are as large as all queries and keys, until now.
    (q_s, k_s, q_t, k_t, rows, columns), gradient = jax.lax.optimization_barrier((arrays, gradient))
    a, b, scale = _factors(q_s, k_s, q_t, k_t, rows, columns)

    def pull(factor: Array, other: Array, partner: Array, sign: int) -> Array:
        """The gradient by a model's queries, given its keys as `partner`; by its keys, given its queries."""
        gram = exact_einsum("bnth,bntg->bnhg", other, jnp.swapaxes(partner, 1, 2).astype(other.dtype), platform)
        weights = 2 * sign * gradient * partner.shape[-1] ** -0.5 * scale[:, None] * gram
        return jnp.swapaxes(exact_einsum("bnth,bnhg->bntg", factor, weights, platform), 1, 2).astype(partner.dtype)

    grad_q_s, grad_k_s = pull(a, b, k_s, 1), pull(b, a, q_s, 1)
    grad_q_t, grad_k_t = pull(a, b, k_t, -1), pull(b, a, q_t, -1)
    return grad_q_s, grad_k_s, grad_q_t, grad_k_t, None, None


_squared_differences.defvjp(_forward, _backward)


def _factors(
    q_s: AnyArray, k_s: AnyArray, q_t: AnyArray, k_t: AnyArray, rows: AnyArray, columns: AnyArray
) -> tuple[Array, Array, Array]:
    """A (B, N, T, H_s + H_t), zero where not `rows`; B (B, N, S, H_s + H_t), where not `columns`; C's diagonal."""

    def prepare(x: AnyArray, where: AnyArray) -> Array:
        return jnp.swapaxes(jnp.where(where[..., None, None], x, 0), 1, 2)

    q_s, q_t, k_s, k_t = prepare(q_s, rows), prepare(q_t, rows), prepare(k_s, columns), prepare(k_t, columns)
    widths = np.array([q_s.shape[-1], q_t.shape[-1]])
    scales = widths**-0.5
    if q_s.shape == q_t.shape and q_s.dtype != jnp.bfloat16:
        # (Q_s − Q_t)·K_sᵀ + Q_t·(K_s − K_t)ᵀ: nothing large cancels when the student is near its teacher. In bfloat16
        # the inputs are exact factors as they are, while their differences would have to be rounded.
        a, b = (q_s - q_t, q_t), (k_s, k_s - k_t)
    else:
        a, b, scales = (q_s, q_t), (k_s, k_t), scales * [1, -1]
    a, b = jnp.concatenate(a, -1), jnp.concatenate(b, -1)
    return a, b, jnp.asarray(np.repeat(scales, widths), at_least_float32(a).dtype)

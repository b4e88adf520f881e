"""Sums of squared differences of attention scores, and their gradients, without a (T, S) matrix."""

import jax
import jax.numpy as jnp
from jax import Array

from tinybert_jax.model.products import accurate

_EXACT = jax.lax.Precision.HIGHEST  # products of Gram matrices are summed, and cancel: TF32 or bf16 would show


@jax.custom_vjp
def squared_score_differences(
    student_queries: Array,
    student_keys: Array,
    teacher_queries: Array,
    teacher_keys: Array,
    rows: Array,
    columns: Array,
) -> Array:
    """Σ (S_s − S_t)² over windows, heads, `rows` and `columns`, where S = Q·Kᵀ/√H.

    The difference of the two score matrices is a sum of two products of thin matrices, S_s − S_t = A₁B₁ᵀ + A₂B₂ᵀ, so
    that Σ (S_s − S_t)² = Σᵢⱼ ⟨AᵢᵀAⱼ, BᵢᵀBⱼ⟩: O(T·H²) work and O(H²) memory a head, and exact. Its gradient by Q_s is
    2·Σᵢ Aᵢ(BᵢᵀK_s)/√H, and likewise by the others: less work than differentiating ⟨,⟩.

    Args:
        student_queries: (B, T, N, H_s).
        student_keys: (B, S, N, H_s).
        teacher_queries: (B, T, N, H_t); head widths may differ, numbers of heads may not.
        teacher_keys: (B, S, N, H_t).
        rows: (B, T) bool.
        columns: (B, S) bool.
    """
    (a_1, a_2), (b_1, b_2) = _factors(student_queries, student_keys, teacher_queries, teacher_keys, rows, columns)
    own, mixed = _inner(a_1, a_1, b_1, b_1) + _inner(a_2, a_2, b_2, b_2), _inner(a_1, a_2, b_1, b_2)
    return own + 2 * mixed


def _forward(*arrays: Array) -> tuple[Array, tuple[Array, ...]]:
    return squared_score_differences(*arrays), arrays


def _backward(arrays: tuple[Array, ...], gradient: Array) -> tuple[Array | None, ...]:
    # Behind the barrier, or the compiler would keep the forward's factors, in float32, until now.
    (q_s, k_s, q_t, k_t, rows, columns), gradient = jax.lax.optimization_barrier((arrays, gradient))
    a, b = _factors(q_s, k_s, q_t, k_t, rows, columns)

    def pull(factors: tuple[Array, Array], others: tuple[Array, Array], partner: Array, sign: int) -> Array:
        scale, partner_first = 2 * sign * gradient * partner.shape[-1] ** -0.5, _heads_first(partner)
        thin = (scale * _gram(other, partner_first.astype(other.dtype)) for other in others)
        first, second = (
            jnp.einsum("bnth,bnhg->bntg", *pair, precision=_EXACT) for pair in zip(factors, thin, strict=True)
        )
        return _heads_first((first + second).astype(partner.dtype))

    of_student, of_teacher = (pull(a, b, k_s, 1), pull(b, a, q_s, 1)), (pull(a, b, k_t, -1), pull(b, a, q_t, -1))
    return *of_student, *of_teacher, None, None


squared_score_differences.defvjp(_forward, _backward)


def _factors(
    q_s: Array, k_s: Array, q_t: Array, k_t: Array, rows: Array, columns: Array
) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    """A₁, A₂ (B, N, T, H) and B₁, B₂ (B, N, S, H), zero where not `rows` and not `columns`."""
    student_scale, teacher_scale = q_s.shape[-1] ** -0.5, q_t.shape[-1] ** -0.5

    def prepare(x: Array, where: Array) -> Array:
        return _heads_first(jnp.where(where[..., None, None], accurate(x), 0))

    q_s, q_t, k_s, k_t = prepare(q_s, rows), prepare(q_t, rows), prepare(k_s, columns), prepare(k_t, columns)
    if q_s.shape == q_t.shape:
        # (Q_s − Q_t)·K_sᵀ + Q_t·(K_s − K_t)ᵀ: nothing large cancels when the student is near its teacher
        return ((q_s - q_t) * student_scale, q_t * teacher_scale), (k_s, k_s - k_t)
    return (q_s * student_scale, -q_t * teacher_scale), (k_s, k_t)


def _heads_first(x: Array) -> Array:
    return jnp.swapaxes(x, 1, 2)


def _gram(x: Array, y: Array) -> Array:
    return jnp.einsum("bnth,bntg->bnhg", x, y, precision=_EXACT)


def _inner(a: Array, a_other: Array, b: Array, b_other: Array) -> Array:
    return (_gram(a, a_other) * _gram(b, b_other)).sum()

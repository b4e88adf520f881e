"""The equations of TinyBERT (Jiao et al. 2020, section 3.1), one function each.

All reduce in float32 and average over real tokens: `mask` (B, T) is True at those, and a batch's filler rows have
none. Means over query-key pairs run over pairs of real tokens. With nothing real the loss is 0, never NaN.
"""

import jax
import jax.numpy as jnp
from jax import Array


def _check_same_shape(name: str, student: Array, teacher: Array) -> None:
    if student.shape != teacher.shape:
        raise ValueError(f"{name} must have one shape, got student {student.shape} and teacher {teacher.shape}")


def _mean(total: Array, count: Array) -> Array:
    return total / jnp.maximum(count, 1)


def hidden_mse(student: Array, teacher: Array, mask: Array, projection: Array | None = None) -> Array:
    """Mean squared error between hidden states (equations 8 and 9).

    Args:
        student: (B, T, D_s).
        teacher: (B, T, D_t).
        mask: (B, T), True at real tokens.
        projection: (D_s, D_t), applied to the student; needed where the widths differ.
    """
    student, teacher = student.astype(jnp.float32), teacher.astype(jnp.float32)
    if projection is not None:
        student = student @ projection
    _check_same_shape("hidden states", student, teacher)
    squares = jnp.where(mask[..., None], (student - teacher) ** 2, 0)
    return _mean(squares.sum(), mask.sum() * teacher.shape[-1])


def _pair_count(mask: Array, heads: int) -> Array:
    return heads * (mask.sum(-1, dtype=jnp.float32) ** 2).sum()


def attention_scores(queries: Array, keys: Array) -> Array:
    """Pre-softmax scores Q·Kᵀ/√H: (B, T, N, H), (B, S, N, H) → (B, N, T, S), float32."""
    scores = jnp.einsum("btnh,bsnh->bnts", queries, keys, preferred_element_type=jnp.float32)
    return scores * queries.shape[-1] ** -0.5


def attention_mse(student: Array, teacher: Array, mask: Array) -> Array:
    """Mean squared error between attention matrices, of scores (equation 7) or of probabilities.

    Args:
        student: (B, N, T, S).
        teacher: (B, N, T, S).
        mask: (B, T), True at real tokens; T = S.
    """
    _check_same_shape("attention matrices", student, teacher)
    pairs = (mask[:, :, None] & mask[:, None, :])[:, None]
    squares = jnp.where(pairs, (student.astype(jnp.float32) - teacher.astype(jnp.float32)) ** 2, 0)
    return _mean(squares.sum(), _pair_count(mask, student.shape[1]))


def score_mse_gram(
    student_queries: Array, student_keys: Array, teacher_queries: Array, teacher_keys: Array, mask: Array
) -> Array:
    """Mean squared error between attention scores, without ever forming a (T, S) matrix.

    The difference of the two score matrices is one product of thin matrices, S_s − S_t = A·Bᵀ, so that
    Σ (S_s − S_t)² = ⟨AᵀA, BᵀB⟩: O(T·H²) work and O(H²) memory a head, and exact.

    Args:
        student_queries: (B, T, N, H_s).
        student_keys: (B, T, N, H_s).
        teacher_queries: (B, T, N, H_t).
        teacher_keys: (B, T, N, H_t); head widths may differ, numbers of heads may not.
        mask: (B, T), True at real tokens.
    """
    if student_queries.shape[:3] != teacher_queries.shape[:3]:
        raise ValueError(
            "scores can be compared head by head only, "
            f"got student (B, T, N) {student_queries.shape[:3]} and teacher {teacher_queries.shape[:3]}"
        )

    def prepare(x: Array, scale: float = 1.0) -> Array:
        return jnp.where(mask[..., None, None], x.astype(jnp.float32) * scale, 0)

    q_s = prepare(student_queries, student_queries.shape[-1] ** -0.5)
    q_t = prepare(teacher_queries, teacher_queries.shape[-1] ** -0.5)
    k_s, k_t = prepare(student_keys), prepare(teacher_keys)
    if q_s.shape == q_t.shape:
        # (Q_s − Q_t)·K_sᵀ + Q_t·(K_s − K_t)ᵀ: nothing large cancels when the student is near its teacher
        left, right = (q_s - q_t, q_t), (k_s, k_s - k_t)
    else:
        left, right = (q_s, -q_t), (k_s, k_t)
    gram_left, gram_right = (_gram(jnp.concatenate(pair, -1)) for pair in (left, right))
    return _mean((gram_left * gram_right).sum(), _pair_count(mask, q_s.shape[2]))


def _gram(x: Array) -> Array:
    # The sum of products below cancels: TF32 or bf16 here would show in the gradient.
    return jnp.einsum("btnh,btng->bnhg", x, x, precision=jax.lax.Precision.HIGHEST)


def _log_softmax_over_tokens(logits: Array, mask: Array) -> Array:
    lowest = jnp.finfo(jnp.float32).min
    return jax.nn.log_softmax(jnp.where(mask[..., None], logits.astype(jnp.float32), lowest), axis=1)


def soft_cross_entropy(student: Array, teacher: Array, mask: Array, temperature: float = 1.0) -> Array:
    """Cross-entropy of the student's start and end distributions against the teacher's (equation 10).

    −Σ_tokens softmax(z_t / τ) · log softmax(z_s / τ), summed over start and end, averaged over windows. It differs
    from KL by the teacher's entropy, so gradients are the same.

    Args:
        student: (B, T, 2) logits.
        teacher: (B, T, 2) logits.
        mask: (B, T), True at real tokens: only these take part in the softmax.
        temperature: τ.
    """
    _check_same_shape("logits", student, teacher)
    log_student = _log_softmax_over_tokens(student / temperature, mask)
    soft_labels = jnp.exp(_log_softmax_over_tokens(teacher / temperature, mask))
    terms = jnp.where(mask[..., None], soft_labels * log_student, 0)
    return _mean(-terms.sum(), mask.any(-1).sum())


def span_cross_entropy(logits: Array, start: Array, end: Array, mask: Array) -> Array:
    """Cross-entropy of the labelled start and end, the two averaged, averaged over windows.

    Args:
        logits: (B, T, 2).
        start: (B,) positions of the answers' first tokens; 0, the [CLS], where the window holds none.
        end: (B,) positions of the last tokens, inclusive.
        mask: (B, T), True at real tokens.
    """
    rows = jnp.arange(logits.shape[0])
    log_probs = _log_softmax_over_tokens(logits, mask)
    labelled = (log_probs[rows, start, 0] + log_probs[rows, end, 1]) / 2
    real = mask.any(-1)
    return _mean(-jnp.where(real, labelled, 0).sum(), real.sum())

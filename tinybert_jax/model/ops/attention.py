"""Scaled dot-product attention, three ways with one meaning: formed, by blocks of rows, and in cuDNN's fused kernel."""

from functools import partial
from typing import Literal

import jax
import jax.numpy as jnp
from jax import Array

from tinybert_jax.model.ops.dropout import kept_rows
from tinybert_jax.model.ops.products import accurate, heads_first, matmul

AttentionKernel = Literal["auto", "formed", "blocks", "cudnn"]

_BLOCK = 128  # query rows at a time
_LEAST_BLOCKED = {"cpu": 256, "gpu": 512}  # tokens: below, forming the matrix takes less time and hardly more memory


def choose_kernel(
    kernel: AttentionKernel, length: int, dtype: jnp.dtype, head_size: int, drops: bool
) -> AttentionKernel:
    """What "auto" stands for.

    cuDNN's kernel on a GPU, where it can: bfloat16, a head width that is a multiple of 8, and no dropout (it has none
    that JAX could repeat). Else blocks of rows for long texts, whose memory grows with the length instead of its
    square; else the matrix.

    Args:
        kernel: any but "auto" is taken as it is.
        length: of the rows attended to, in tokens.
        dtype: what is computed in.
        head_size: width of a head.
        drops: whether attention dropout acts.
    """
    if kernel != "auto":
        return kernel
    backend = jax.default_backend()
    if backend == "gpu" and dtype == jnp.bfloat16 and head_size % 8 == 0 and not drops:
        return "cudnn"
    return "blocks" if length > _LEAST_BLOCKED.get(backend, 256) else "formed"


def formed(
    queries: Array, keys: Array, values: Array, mask: Array, rate: float = 0.0, key: Array | None = None
) -> tuple[Array, Array]:
    """Attention through the matrix of probabilities.

    Args:
        queries: (B, T, N, H).
        keys: (B, S, N, H).
        values: (B, S, N, H).
        mask: (B, S), True at real tokens.
        rate: of dropout on the probabilities.
        key: dropout's; without one it does not act.

    Returns:
        The context (B, T, N, H), and the probabilities that multiplied the values, (B, N, T, S).
    """
    queries, keys, values = map(heads_first, (queries, keys, values))
    context, probabilities = _attend_rows(queries, keys, values, mask, rate, key, 0, queries.shape[2])
    return jnp.swapaxes(context, 1, 2), probabilities


def in_blocks(
    queries: Array, keys: Array, values: Array, mask: Array, rate: float = 0.0, key: Array | None = None
) -> Array:
    """The same context, and the same dropout, a block of query rows at a time: (B, T, N, H).

    A block's probabilities are computed again on the way back, so that value and gradient hold one block's, not all.
    """
    keys, values, length = heads_first(keys), heads_first(values), queries.shape[1]
    blocks = -(-length // _BLOCK)
    padded = jnp.pad(heads_first(queries), ((0, 0), (0, 0), (0, blocks * _BLOCK - length), (0, 0)))
    rows = jnp.moveaxis(padded.reshape(*padded.shape[:2], blocks, _BLOCK, padded.shape[-1]), 2, 0)

    @jax.checkpoint
    def attend(number: Array, block: Array) -> Array:
        return _attend_rows(block, keys, values, mask, rate, key, number * _BLOCK, length)[0]

    context = jax.lax.map(lambda numbered: attend(*numbered), (jnp.arange(blocks), rows))
    context = jnp.moveaxis(context, 0, 2).reshape(padded.shape)[:, :, :length]
    return jnp.swapaxes(context, 1, 2)


def in_cudnn(queries: Array, keys: Array, values: Array, mask: Array) -> Array:
    """The same context by cuDNN's flash attention, (B, T, N, H): bfloat16 or float16, no dropout, on a GPU."""
    # One mask for all heads and layers: cuDNN takes none that is broadcast along the query rows.
    pairs = jnp.broadcast_to(mask[:, None, None, :], (*mask.shape[:1], 1, queries.shape[1], mask.shape[1]))
    attend = partial(jax.nn.dot_product_attention, implementation="cudnn")
    return attend(queries, keys, values, mask=pairs)


def _attend_rows(
    queries: Array,
    keys: Array,
    values: Array,
    mask: Array,
    rate: float,
    key: Array | None,
    first: Array | int,
    rows: int,
) -> tuple[Array, Array]:
    """`_attend` of query rows `first` and on, out of `rows`; dropout acts where there is a key."""
    if key is None:
        return _attend(queries, keys, values, mask, None, 0.0)
    kept = kept_rows((*queries.shape[:3], keys.shape[2]), rate, key, first=first, rows=rows)
    return _attend(queries, keys, values, mask, kept, rate)


@partial(jax.custom_vjp, nondiff_argnums=(5,))
def _attend(
    queries: Array, keys: Array, values: Array, mask: Array, kept: Array | None, rate: float
) -> tuple[Array, Array]:
    """Context (B, N, T, H) and probabilities (B, N, T, S) after dropout, of heads-first arrays, in their type.

    Scores and softmax are float32. Of the (T, S) matrices one is kept for the gradient, in the arrays' type.

    Args:
        queries: (B, N, T, H).
        keys: (B, N, S, H).
        values: (B, N, S, H).
        mask: (B, S), True at real tokens.
        kept: (B, N, T, S), what dropout leaves; None for all.
        rate: dropout's; 0 where all is kept.
    """
    return _forward(queries, keys, values, mask, kept, rate)[0]


def _forward(
    queries: Array, keys: Array, values: Array, mask: Array, kept: Array | None, rate: float
) -> tuple[tuple[Array, Array], tuple[Array, ...]]:
    scores = _scores(queries, keys)
    probabilities = jax.nn.softmax(jnp.where(mask[:, None, None, :], scores, jnp.finfo(scores.dtype).min))
    # A probability is not negative: the sign is free to say that dropout takes it.
    signed = (probabilities if kept is None else jnp.where(kept, probabilities, -probabilities)).astype(queries.dtype)
    kept_part = jnp.maximum(signed, 0)
    context = (matmul(kept_part, values) / (1 - rate)).astype(queries.dtype)
    dropped = (accurate(kept_part) / (1 - rate)).astype(queries.dtype)
    return (context, dropped), (queries, keys, values, mask, signed)


def _scores(queries: Array, keys: Array) -> Array:
    return matmul(queries, jnp.swapaxes(keys, -1, -2)) * queries.shape[-1] ** -0.5


def _backward(rate: float, saved: tuple[Array, ...], gradients: tuple[Array, Array]) -> tuple[Array | None, ...]:
    queries, keys, values, mask, signed = saved
    of_context, of_probabilities = gradients
    _, pull_context = jax.vjp(matmul, jnp.maximum(signed, 0), values)
    of_dropped, of_values = pull_context(accurate(of_context) / (1 - rate))
    of_softmax = jnp.where(signed > 0, accurate(of_dropped) + accurate(of_probabilities) / (1 - rate), 0)
    probabilities = accurate(jnp.abs(signed))
    of_scores = probabilities * (of_softmax - (of_softmax * probabilities).sum(-1, keepdims=True))
    _, pull_scores = jax.vjp(_scores, queries, keys)
    of_queries, of_keys = pull_scores(jnp.where(mask[:, None, None, :], of_scores, 0))
    return of_queries, of_keys, of_values, None, None


_attend.defvjp(_forward, _backward)

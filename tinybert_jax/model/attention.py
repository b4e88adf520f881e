"""Scaled dot-product attention, three ways with one meaning: formed, by blocks of rows, and in cuDNN's fused kernel."""

from functools import partial
from typing import Literal

import jax
import jax.numpy as jnp
from jax import Array

from tinybert_jax.model.dropout import dropout, dropout_rows
from tinybert_jax.model.products import heads_first, matmul

AttentionKernel = Literal["auto", "formed", "blocks", "cudnn"]

_BLOCK = 128  # query rows at a time
_LEAST_BLOCKED = 256  # tokens: below, forming the matrix takes less time and hardly more memory


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
    if jax.default_backend() == "gpu" and dtype == jnp.bfloat16 and head_size % 8 == 0 and not drops:
        return "cudnn"
    return "blocks" if length > _LEAST_BLOCKED else "formed"


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
    probabilities = _softmax(heads_first(queries), heads_first(keys), mask)
    if key is not None:
        probabilities = dropout(probabilities, rate, key)
    context = matmul(probabilities, heads_first(values)).astype(queries.dtype)
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
        probabilities = _softmax(block, keys, mask)
        if key is not None:
            probabilities = dropout_rows(probabilities, rate, key, first=number * _BLOCK, rows=length)
        return matmul(probabilities, values).astype(block.dtype)

    context = jax.lax.map(lambda numbered: attend(*numbered), (jnp.arange(blocks), rows))
    context = jnp.moveaxis(context, 0, 2).reshape(padded.shape)[:, :, :length]
    return jnp.swapaxes(context, 1, 2)


def in_cudnn(queries: Array, keys: Array, values: Array, mask: Array) -> Array:
    """The same context by cuDNN's flash attention, (B, T, N, H): bfloat16 or float16, no dropout, on a GPU."""
    # One mask for all heads and layers: cuDNN takes none that is broadcast along the query rows.
    pairs = jnp.broadcast_to(mask[:, None, None, :], (*mask.shape[:1], 1, queries.shape[1], mask.shape[1]))
    attend = partial(jax.nn.dot_product_attention, implementation="cudnn")
    return attend(queries, keys, values, mask=pairs)


def _softmax(queries: Array, keys: Array, mask: Array) -> Array:
    """Probabilities (B, N, T, S) of heads-first queries and keys, in their type; computed in float32."""
    scores = matmul(queries, jnp.swapaxes(keys, -1, -2)) * queries.shape[-1] ** -0.5
    scores = jnp.where(mask[:, None, None, :], scores, jnp.finfo(jnp.float32).min)
    return jax.nn.softmax(scores).astype(queries.dtype)

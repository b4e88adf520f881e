"""Scaled dot-product attention, four ways with one meaning.

Formed, by blocks of query rows, in cuDNN's fused kernel, and, where no gradient is taken, one text after another.
"""

from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, PRNGKeyArray

from tinybert_jax.arrays import AnyArray
from tinybert_jax.model.ops.dropout import kept_rows
from tinybert_jax.model.ops.platform import PORTABLE, Platform
from tinybert_jax.model.ops.products import at_least_float32, heads_first, matmul

AttentionKernel = Literal["auto", "formed", "blocks", "cudnn"]
Kernel = Literal[AttentionKernel, "texts"]  # the last one is chosen, never asked for: a gradient through it is slow

_BLOCK = 128  # query rows at a time


def choose_kernel(
    kernel: AttentionKernel, platform: Platform, *, length: Any, dtype: jnp.dtype, head_size: int, drops: bool
) -> Kernel:
    """What "auto" stands for.

    cuDNN's kernel where the platform has it and it can: bfloat16, a head width that is a multiple of 8, and no dropout
    (it has none that JAX could repeat). Else text by text where the platform is one CPU that trains nothing. Else
    blocks of rows for long texts, whose memory grows with the length instead of its square; else the matrix.

    Args:
        kernel: any but "auto" is taken as it is.
        platform: what it runs on.
        length: of the rows attended to, in tokens; a symbol where a network is exported for all lengths, and then
            only with a kernel that is named.
        dtype: what is computed in.
        head_size: width of a head.
        drops: whether attention dropout acts.
    """
    if kernel != "auto":
        return kernel
    if platform.cudnn_attention and dtype == jnp.bfloat16 and head_size % 8 == 0 and not drops:
        return "cudnn"
    if platform.tokens_at_once and not drops:
        return "texts"
    return "blocks" if length > platform.longest_formed else "formed"


def formed(
    queries: Float[Array, "B T N H"],
    keys: Float[Array, "B S N H"],
    values: Float[Array, "B S N H"],
    mask: Bool[AnyArray, "B S"],
    rate: float = 0.0,
    key: PRNGKeyArray | None = None,
    platform: Platform = PORTABLE,
) -> tuple[Float[Array, "B T N H"], Float[Array, "B N T S"]]:
    """Attention through the matrix of probabilities.

    Args:
        queries: of the rows that attend.
        keys: of the rows attended to.
        values: theirs too.
        mask: True at real tokens.
        rate: of dropout on the probabilities.
        key: dropout's; without one it does not act.
        platform: what it runs on.

    Returns:
        The context, and the probabilities that multiplied the values.
    """
    queries, keys, values = (heads_first(x, platform) for x in (queries, keys, values))
    dropout = None if key is None else _Dropout(rate, key, rows=queries.shape[2])
    context, probabilities = _attend_rows(queries, keys, values, mask, dropout, 0, platform)
    return jnp.swapaxes(context, 1, 2), probabilities


def in_blocks(
    queries: Float[Array, "B T N H"],
    keys: Float[Array, "B S N H"],
    values: Float[Array, "B S N H"],
    mask: Bool[AnyArray, "B S"],
    rate: float = 0.0,
    key: PRNGKeyArray | None = None,
    platform: Platform = PORTABLE,
) -> Float[Array, "B T N H"]:
    """The same context, and the same dropout, a block of query rows at a time.

    A block's probabilities are computed again on the way back, so that value and gradient hold one block's, not all.
    """
    queries, keys, values = (heads_first(x, platform) for x in (queries, keys, values))
    length = queries.shape[2]
    dropout = None if key is None else _Dropout(rate, key, rows=length)
    blocks = -(-length // _BLOCK)
    padded = jnp.pad(queries, ((0, 0), (0, 0), (0, blocks * _BLOCK - length), (0, 0)))
    rows = jnp.moveaxis(padded.reshape(*padded.shape[:2], blocks, _BLOCK, padded.shape[-1]), 2, 0)

    @jax.checkpoint
    def attend(number: Array, block: Array) -> Array:
        return _attend_rows(block, keys, values, mask, dropout, number * _BLOCK, platform)[0]

    context = jax.lax.map(lambda numbered: attend(*numbered), (jnp.arange(blocks), rows))
    context = jnp.moveaxis(context, 0, 2).reshape(padded.shape)[:, :, :length]
    return jnp.swapaxes(context, 1, 2)


def text_by_text(
    queries: Float[Array, "B T N H"],
    keys: Float[Array, "B S N H"],
    values: Float[Array, "B S N H"],
    mask: Bool[AnyArray, "B S"],
    platform: Platform = PORTABLE,
) -> Float[Array, "B T N H"]:
    """The same context without dropout, for inference: one text's matrices stay in a processor's cache.

    The division by the softmax's sum comes after the product with the values: it is H wide, not S.
    """

    def attend(text: tuple[Array, Array, Array, Array]) -> Array:
        q, k, v = (jnp.swapaxes(x, 0, 1) for x in text[:3])
        scores = scaled_scores(q, k, platform)
        scores = jnp.where(text[3], scores, jnp.finfo(scores.dtype).min)  # not −∞, as in `_forward`
        weights = jnp.exp(scores - scores.max(-1, keepdims=True))
        context = matmul(weights.astype(q.dtype), v, platform) / weights.sum(-1, keepdims=True)
        return jnp.swapaxes(context, 0, 1).astype(q.dtype)

    return jax.lax.map(attend, (queries, keys, values, jnp.asarray(mask)))


def in_cudnn(
    queries: Float[Array, "B T N H"],
    keys: Float[Array, "B S N H"],
    values: Float[Array, "B S N H"],
    mask: Bool[AnyArray, "B S"],
) -> Float[Array, "B T N H"]:
    """The same context by cuDNN's flash attention: bfloat16 or float16, no dropout, on a GPU."""
    # One mask for all heads and layers: cuDNN takes none that is broadcast along the query rows.
    pairs = jnp.broadcast_to(mask[:, None, None, :], (*mask.shape[:1], 1, queries.shape[1], mask.shape[1]))
    attend = partial(jax.nn.dot_product_attention, implementation="cudnn")
    return attend(queries, keys, values, mask=pairs)


class _Dropout(NamedTuple):
    """Dropout on the probabilities of one attention."""

    rate: float
    key: PRNGKeyArray
    rows: int  # T, of the whole matrix: an element's fate depends on its place in it, not in its block


def _attend_rows(
    queries: Array,
    keys: Array,
    values: Array,
    mask: AnyArray,
    dropout: _Dropout | None,
    first: Array | int,
    platform: Platform,
) -> tuple[Array, Array]:
    """`_attend` of the query rows from number `first` on."""
    if dropout is None:
        return _attend(queries, keys, values, mask, None, 0.0, platform)
    shape = (*queries.shape[:3], keys.shape[2])
    kept = kept_rows(shape, dropout.rate, dropout.key, first=first, rows=dropout.rows)
    return _attend(queries, keys, values, mask, kept, dropout.rate, platform)


@partial(jax.custom_vjp, nondiff_argnums=(5, 6))
def _attend(
    queries: Float[Array, "B N T H"],
    keys: Float[Array, "B N S H"],
    values: Float[Array, "B N S H"],
    mask: Bool[AnyArray, "B S"],
    kept: Bool[Array, "B N T S"] | None,
    rate: float,
    platform: Platform,
) -> tuple[Float[Array, "B N T H"], Float[Array, "B N T S"]]:
    """Context, and probabilities after dropout, of heads-first arrays, in their type.

    Scores and softmax are float32. Of the (T, S) matrices one is kept for the gradient, in the arrays' type.

    Args:
        queries: of the rows that attend.
        keys: of the rows attended to.
        values: theirs too.
        mask: True at real tokens.
        kept: what dropout leaves; None for all.
        rate: dropout's; 0 where all is kept.
        platform: what it runs on.
    """
    return _forward(queries, keys, values, mask, kept, rate, platform)[0]


def _forward(
    queries: Array,
    keys: Array,
    values: Array,
    mask: AnyArray,
    kept: Array | None,
    rate: float,
    platform: Platform,
) -> tuple[tuple[Array, Array], tuple[AnyArray, ...]]:
    scores = scaled_scores(queries, keys, platform)
    # The least number, not −∞: a row without a real token then gets equal probabilities, not NaN.
    probabilities = jax.nn.softmax(jnp.where(mask[:, None, None, :], scores, jnp.finfo(scores.dtype).min))
    # A probability is not negative: the sign is free to say that dropout takes it.
    signed = (probabilities if kept is None else jnp.where(kept, probabilities, -probabilities)).astype(queries.dtype)
    kept_part = _kept(signed)
    # Dropout's division comes after the product, in float32, and is not rounded with the probabilities.
    context = (matmul(kept_part, values, platform) / (1 - rate)).astype(queries.dtype)
    dropped = (at_least_float32(kept_part) / (1 - rate)).astype(queries.dtype)
    return (context, dropped), (queries, keys, values, mask, signed)


def _kept(signed: AnyArray) -> Array:
    """What dropout leaves of the probabilities. Not `maximum(signed, 0)`: in XLA's CPU fusions, that of NaN is 0."""
    return jnp.where(signed <= 0, 0, signed)


def scaled_scores(
    queries: Float[Array, "*batch T H"], keys: Float[Array, "*batch S H"], platform: Platform = PORTABLE
) -> Float[Array, "*batch T S"]:
    """Q·Kᵀ/√H, in float32; the heads' axis is one of the batch's."""
    return matmul(queries, jnp.swapaxes(keys, -1, -2), platform) * queries.shape[-1] ** -0.5


def _backward(
    rate: float, platform: Platform, saved: tuple[AnyArray, ...], gradients: tuple[Array, Array]
) -> tuple[Array | None, ...]:
    queries, keys, values, mask, signed = saved
    grad_context, grad_probabilities = gradients
    _, pull_context = jax.vjp(partial(matmul, platform=platform), _kept(signed), values)
    grad_kept, grad_values = pull_context(at_least_float32(grad_context) / (1 - rate))
    grad_softmax = at_least_float32(grad_kept) + at_least_float32(grad_probabilities) / (1 - rate)
    grad_softmax = jnp.where(signed > 0, grad_softmax, 0)
    probabilities = at_least_float32(jnp.abs(signed))  # those that dropout took too: softmax came before it
    grad_scores = probabilities * (grad_softmax - (grad_softmax * probabilities).sum(-1, keepdims=True))
    _, pull_scores = jax.vjp(partial(scaled_scores, platform=platform), queries, keys)
    grad_queries, grad_keys = pull_scores(jnp.where(mask[:, None, None, :], grad_scores, 0))
    return grad_queries, grad_keys, grad_values, None, None


_attend.defvjp(_forward, _backward)

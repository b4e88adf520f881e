"""A batch's logits, as many texts at a time as the processor's cache likes."""

import jax
from jaxtyping import Float

from tinybert_jax.data import Batch
from tinybert_jax.model import BertForQuestionAnswering, forward
from tinybert_jax.model.bert import Params


def logits_in_parts(model: BertForQuestionAnswering, params: Params, batch: Batch) -> Float[jax.Array, "B T 2"]:
    """`forward(model, params, batch).logits`, for inference.

    Args:
        model: the network, on `Platform.for_inference(mesh)`.
        params: its parameters.
        batch: B texts of T tokens.
    """
    rows, length = batch.input_ids.shape
    texts = _texts_at_once(rows, length, model.platform.tokens_at_once)

    def logits(part: Batch) -> jax.Array:
        return forward(model, params, part).logits

    if texts == rows:
        return logits(batch)
    parts = jax.tree.map(lambda x: x.reshape(-1, texts, *x.shape[1:]), batch)
    return jax.lax.map(logits, parts).reshape(rows, length, 2)


def _texts_at_once(texts: int, length: int, tokens: int) -> int:
    """The most texts of which a batch is a multiple, and which hold no more tokens than that; at least one."""
    if not tokens:
        return texts
    return next(
        count for count in range(texts, 0, -1) if texts % count == 0 and (count * length <= tokens or count == 1)
    )

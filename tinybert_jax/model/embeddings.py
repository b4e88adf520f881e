"""Tokens to vectors: the one part in which the families' networks differ."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Int

from tinybert_jax.arrays import AnyArray
from tinybert_jax.errors import UserError
from tinybert_jax.model.module import Module
from tinybert_jax.model.ops.split import by_rows


class Embeddings(Module):
    """Sum of word, position and segment embeddings, normalised, and projected where their width is not the layers'.

    BERT counts positions from 0 over the row, and reads segments. RoBERTa counts the real tokens from
    `pad_token_id + 1`, puts padding at `pad_token_id`, and has one segment, as transformers does. DistilBERT is BERT
    without segments; ELECTRA is BERT, and may be narrower here than in its layers.
    """

    @nn.compact
    def __call__(
        self,
        input_ids: Int[AnyArray, "B T"],
        token_type_ids: Int[AnyArray, "B T"],
        attention_mask: Bool[AnyArray, "B T"],
    ) -> Float[Array, "B T {self.config.hidden_size}"]:
        c = self.config
        if input_ids.shape[1] > c.max_positions:  # the look-up would give NaN
            raise UserError(
                f"rows must fit the position table, which holds {c.max_positions} tokens "
                f"(max_position_embeddings = {c.max_position_embeddings}), got {input_ids.shape[1]} tokens"
            )
        ids = jnp.where(attention_mask, input_ids, c.pad_token_id)  # batches are padded with 0 for every model
        x = self.look_up("word_embeddings", c.vocab_size, ids, never_trained=c.pad_token_id)
        if c.family.counts_after_padding:
            real = ids != c.pad_token_id
            # fairseq's numbers, which start after padding's
            positions = c.pad_token_id + jnp.cumsum(real, axis=1) * real
            untrained_position = c.pad_token_id
        else:
            positions = jnp.arange(ids.shape[1])[None]
            untrained_position = None
        x = x + self.look_up("position_embeddings", c.max_position_embeddings, positions, untrained_position)
        if c.type_vocab_size:
            segments = token_type_ids if c.family.segments else jnp.zeros_like(ids)
            x = x + self.look_up("token_type_embeddings", c.type_vocab_size, segments)
        x = self.drop(self.layer_norm(x), c.hidden_dropout_prob)
        return x if c.embedding_size is None else self.dense(x, c.hidden_size, "embeddings_project")

    def look_up(
        self, name: str, rows: int, indices: Int[AnyArray, "B T"], never_trained: int | None = None
    ) -> Float[Array, "B T {self.config.embedding_width}"]:
        """Rows of a table; the row `never_trained`, torch's `padding_idx`, is read and gets no gradient."""
        c = self.config
        init = nn.initializers.normal(c.initializer_range)
        # Rows are converted, not the table: its gradient adds up as many rows as a batch has tokens, in its own type.
        vectors = nn.Embed(rows, c.embedding_width, embedding_init=init, name=name)(indices).astype(c.dtype)
        vectors = by_rows(vectors, self.platform.split_over)
        if never_trained is None:
            return vectors
        return jnp.where((indices == never_trained)[..., None], jax.lax.stop_gradient(vectors), vectors)

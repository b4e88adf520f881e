"""What every block of the networks shares: the config, and layers that follow it."""

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from tinybert_jax.model.config import BertConfig
from tinybert_jax.model.dropout import dropout


class Module(nn.Module):
    """A Linen module of a given config."""

    config: BertConfig

    def dense(self, x: Array, features: int, name: str, dtype: str | None = None) -> Array:
        """A linear layer with BERT's initialisation: (..., D) to (..., features)."""
        init = nn.initializers.normal(self.config.initializer_range)
        layer = nn.Dense(features, dtype=dtype or self.config.dtype, kernel_init=init, name=name)
        # Tokens as the rows of one matrix: with a batch axis, XLA's CPU weight gradient can take three times as long.
        return layer(x.reshape(-1, x.shape[-1])).reshape(*x.shape[:-1], features)

    def layer_norm(self, x: Array) -> Array:
        """LayerNorm over the last axis, computed in float32."""
        norm = nn.LayerNorm(
            epsilon=self.config.layer_norm_eps, use_fast_variance=False, dtype=jnp.float32, name="LayerNorm"
        )
        return norm(x).astype(self.config.dtype)

    def drop(self, x: Array, rate: float) -> Array:
        """Dropout, where a "dropout" key was supplied."""
        if rate == 0 or not self.has_rng("dropout"):
            return x
        return dropout(x, rate, self.make_rng("dropout"))

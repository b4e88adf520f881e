"""What every block of the networks shares: the config, and layers that follow it."""

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from tinybert_jax.model.config import BertConfig
from tinybert_jax.model.dense import Dense
from tinybert_jax.model.dropout import dropout


class Module(nn.Module):
    """A Linen module of a given config."""

    config: BertConfig

    def dense(self, x: Array, features: int, name: str, dtype: str | None = None) -> Array:
        """A linear layer with BERT's initialisation: (..., D) to (..., features)."""
        init = nn.initializers.normal(self.config.initializer_range)
        return Dense(features, dtype or self.config.dtype, init, name=name)(x)

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

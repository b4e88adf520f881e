"""What every block of the networks shares: the config, and layers that follow it."""

import flax.linen as nn
from jax import Array

from tinybert_jax.model.config import BertConfig
from tinybert_jax.model.ops.dense import Dense
from tinybert_jax.model.ops.dropout import dropout
from tinybert_jax.model.ops.layer_norm import LayerNorm


class Module(nn.Module):
    """A Linen module of a given config."""

    config: BertConfig

    def dense(self, x: Array, features: int, name: str, dtype: str | None = None) -> Array:
        """A linear layer with BERT's initialisation: (..., D) to (..., features)."""
        init = nn.initializers.normal(self.config.initializer_range)
        return Dense(features, dtype or self.config.dtype, init, name=name)(x)

    def layer_norm(self, x: Array) -> Array:
        """LayerNorm over the last axis, computed in float32."""
        return LayerNorm(self.config.layer_norm_eps, name="LayerNorm")(x)

    def drop(self, x: Array, rate: float) -> Array:
        """Dropout, where a "dropout" key was supplied."""
        if rate == 0 or not self.has_rng("dropout"):
            return x
        return dropout(x, rate, self.make_rng("dropout"))

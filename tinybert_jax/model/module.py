"""What every block of the networks shares: the config, the platform, and layers that follow both."""

import flax.linen as nn
from jax import Array

from tinybert_jax.model.config import BertConfig
from tinybert_jax.model.ops.dense import Dense
from tinybert_jax.model.ops.dropout import dropout
from tinybert_jax.model.ops.layer_norm import LayerNorm
from tinybert_jax.model.ops.platform import PORTABLE, Platform


class Module(nn.Module):
    """A Linen module of a given config.

    Attributes:
        config: its shape, and what it computes in.
        platform: what it runs on. The default is right everywhere; `Platform.of(mesh)` is faster.
    """

    config: BertConfig
    platform: Platform = PORTABLE

    def dense(self, x: Array, features: int, name: str, dtype: str | None = None) -> Array:
        """A linear layer with BERT's initialisation: (..., D) to (..., features)."""
        init = nn.initializers.normal(self.config.initializer_range)
        return Dense(features, dtype or self.config.dtype, init, self.platform, name=name)(x)

    def layer_norm(self, x: Array) -> Array:
        """LayerNorm over the last axis, computed in float32."""
        return LayerNorm(self.config.layer_norm_eps, name="LayerNorm")(x)

    def drop(self, x: Array, rate: float) -> Array:
        """Dropout, where a "dropout" key was supplied."""
        if rate == 0 or not self.has_rng("dropout"):
            return x
        return dropout(x, rate, self.make_rng("dropout"))

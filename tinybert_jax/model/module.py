"""What every block of the networks shares: the config, the platform, and layers that follow both."""

import flax.linen as nn
from jax import Array
from jaxtyping import Float

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

    def dense(
        self, x: Float[Array, "*rows D"], features: int, name: str, dtype: str | None = None
    ) -> Float[Array, "*rows {features}"]:
        """A linear layer with BERT's initialisation."""
        init = nn.initializers.normal(self.config.initializer_range)
        return Dense(features, dtype or self.config.dtype, init, self.platform, name=name)(x)

    def layer_norm(self, x: Float[Array, "*rows D"]) -> Float[Array, "*rows D"]:
        """LayerNorm over the last axis, computed in float32."""
        return LayerNorm(self.config.layer_norm_eps, name="LayerNorm")(x)

    def drop(self, x: Float[Array, "*shape"], rate: float) -> Float[Array, "*shape"]:
        """Dropout, where a "dropout" key was supplied."""
        if rate == 0 or not self.has_rng("dropout"):
            return x
        return dropout(x, rate, self.make_rng("dropout"))

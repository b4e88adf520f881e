"""The linear layer."""

from collections.abc import Callable

import flax.linen as nn
from jax import Array

from tinybert_jax.model.ops.products import matmul


class Dense(nn.Module):
    """`x @ kernel + bias`, computed in `dtype` and returned in it."""

    features: int
    dtype: str
    kernel_init: Callable[..., Array]

    @nn.compact
    def __call__(self, x: Array) -> Array:
        kernel = self.param("kernel", self.kernel_init, (x.shape[-1], self.features))
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        # Tokens as the rows of one matrix: with a batch axis, XLA's CPU weight gradient can take three times as long.
        rows = x.reshape(-1, x.shape[-1]).astype(self.dtype)
        return (matmul(rows, kernel) + bias).astype(self.dtype).reshape(*x.shape[:-1], self.features)

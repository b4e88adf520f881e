"""The linear layer."""

from collections.abc import Callable

import flax.linen as nn
from jax import Array
from jaxtyping import Float

from tinybert_jax.model.ops.cpu_layout import as_one_matrix
from tinybert_jax.model.ops.platform import PORTABLE, Platform
from tinybert_jax.model.ops.products import matmul
from tinybert_jax.model.ops.split import gathered


class Dense(nn.Module):
    """`x @ kernel + bias`, computed in `dtype` and returned in it."""

    features: int
    dtype: str
    kernel_init: Callable[..., Array]
    platform: Platform = PORTABLE

    @nn.compact
    def __call__(self, x: Float[Array, "*rows D"]) -> Float[Array, "*rows {self.features}"]:
        kernel = self.param("kernel", self.kernel_init, (x.shape[-1], self.features))
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        kernel, x = gathered(kernel, x, self.platform.split_over)
        product = matmul(as_one_matrix(x).astype(self.dtype), kernel, self.platform)
        return (product + bias).astype(self.dtype).reshape(*x.shape[:-1], self.features)

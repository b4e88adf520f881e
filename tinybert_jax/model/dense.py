"""The linear layer: products of the computing type, sums in float32, gradients of the stored weights in float32."""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array


@jax.custom_vjp
def matmul(x: Array, kernel: Array) -> Array:
    """`x @ kernel`, multiplied in the type of `x` and accumulated in float32.

    Without the rule of its own for the gradient, the float32 cotangent would meet bfloat16 operands, and every
    product of the backward pass would be computed in float32.

    Args:
        x: (M, K), float32 or bfloat16.
        kernel: (K, N) float32.

    Returns:
        (M, N) float32.
    """
    return jnp.dot(x, kernel.astype(x.dtype), preferred_element_type=jnp.float32)


def _forward(x: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
    return matmul(x, kernel), (x, kernel)


def _backward(saved: tuple[Array, Array], gradient: Array) -> tuple[Array, Array]:
    x, kernel = saved
    gradient = gradient.astype(x.dtype)
    of_x = jnp.einsum("mn,kn->mk", gradient, kernel.astype(x.dtype), preferred_element_type=jnp.float32)
    of_kernel = jnp.einsum("mk,mn->kn", x, gradient, preferred_element_type=jnp.float32)
    return of_x.astype(x.dtype), of_kernel.astype(kernel.dtype)


matmul.defvjp(_forward, _backward)


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

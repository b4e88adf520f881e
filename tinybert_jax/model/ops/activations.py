"""The feed-forward network's activations, by their names in transformers' `config.json`."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from tinybert_jax.model.ops.products import at_least_float32


@jax.custom_vjp
def gelu(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """x·Φ(x), exactly (Hendrycks & Gimpel 2016): computed in float32, returned in the type of `x`.

    Only `x` is kept for the gradient, Φ(x) + x·φ(x), which computes Φ again.
    """
    wide = at_least_float32(x)
    return (wide * _distribution(wide)).astype(x.dtype)


def _distribution(x: Array) -> Array:
    """Φ, the standard normal distribution's function."""
    return 0.5 * (1 + jax.lax.erf(x * 0.5**0.5))


def _forward(x: Array) -> tuple[Array, Array]:
    return gelu(x), x


def _backward(x: Array, gradient: Array) -> tuple[Array]:
    # Without the barrier XLA keeps the forward's Φ, in float32, until now.
    x, gradient = jax.lax.optimization_barrier((x, gradient))
    wide = at_least_float32(x)
    density = jnp.exp(-0.5 * wide**2) * (0.5 / jnp.pi) ** 0.5
    return ((gradient * (_distribution(wide) + wide * density)).astype(x.dtype),)


gelu.defvjp(_forward, _backward)


def quick_gelu(x: Array) -> Array:
    """x·σ(1.702·x), of CLIP."""
    return x * nn.sigmoid(1.702 * x)


# `nn.gelu` is by default the form with tanh. It has three names in transformers, which differ by rounding.
ACTIVATIONS = {
    "gelu": gelu,
    "gelu_python": gelu,
    "gelu_new": nn.gelu,
    "gelu_fast": nn.gelu,
    "gelu_pytorch_tanh": nn.gelu,
    "quick_gelu": quick_gelu,
    "relu": nn.relu,
    "silu": nn.silu,
}

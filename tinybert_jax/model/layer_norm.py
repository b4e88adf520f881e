"""Layer normalisation that keeps its input alone for the gradient."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from tinybert_jax.model.products import accurate


class LayerNorm(nn.Module):
    """`normalise` with parameters `scale` and `bias` (D,), which start as ones and zeros."""

    epsilon: float

    @nn.compact
    def __call__(self, x: Array) -> Array:
        scale = self.param("scale", nn.initializers.ones, x.shape[-1:])
        bias = self.param("bias", nn.initializers.zeros, x.shape[-1:])
        return normalise(x, scale, bias, self.epsilon)


@partial(jax.custom_vjp, nondiff_argnums=(3,))
def normalise(x: Array, scale: Array, bias: Array, epsilon: float) -> Array:
    """(x − mean) / √(variance + epsilon) · scale + bias over the last axis (Ba et al. 2016).

    Computed in float32, returned in the type of `x`. What lies between is computed again for the gradient, which
    costs little beside keeping four float32 arrays of the size of `x`.

    Args:
        x: (…, D).
        scale: (D,).
        bias: (D,).
        epsilon: added to the variance.
    """
    return (_standardise(x, epsilon)[0] * scale + bias).astype(x.dtype)


def _standardise(x: Array, epsilon: float) -> tuple[Array, Array]:
    """`x` at mean 0 and variance 1, and the factor that took it there, (…, 1)."""
    x = accurate(x)
    x = x - x.mean(-1, keepdims=True)
    factor = jax.lax.rsqrt((x**2).mean(-1, keepdims=True) + epsilon)
    return x * factor, factor


def _forward(x: Array, scale: Array, bias: Array, epsilon: float) -> tuple[Array, tuple[Array, Array, Array]]:
    return normalise(x, scale, bias, epsilon), (x, scale, bias)


def _backward(epsilon: float, saved: tuple[Array, Array, Array], gradient: Array) -> tuple[Array, Array, Array]:
    # Behind the barrier, or the compiler would keep the forward's instead of computing it again.
    (x, scale, bias), gradient = jax.lax.optimization_barrier((saved, gradient))
    standard, factor = _standardise(x, epsilon)
    gradient = gradient.astype(standard.dtype)
    of_scale = jnp.einsum("...d,...d->d", gradient, standard)
    of_bias = jnp.einsum("...d->d", gradient)
    of_standard = gradient * scale
    along_mean = of_standard.mean(-1, keepdims=True)
    along_x = (of_standard * standard).mean(-1, keepdims=True)
    of_x = factor * (of_standard - along_mean - standard * along_x)
    return of_x.astype(x.dtype), of_scale.astype(scale.dtype), of_bias.astype(bias.dtype)


normalise.defvjp(_forward, _backward)

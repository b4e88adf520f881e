"""Layer normalisation that keeps only its input, and two numbers a row, for the gradient."""

from functools import partial

import flax.linen as nn
import jax
from jax import Array
from jaxtyping import Float

from tinybert_jax.arrays import AnyArray
from tinybert_jax.model.ops.products import at_least_float32


class LayerNorm(nn.Module):
    """`normalise` with parameters `scale` and `bias` (D,), which start as ones and zeros."""

    epsilon: float

    @nn.compact
    def __call__(self, x: Float[Array, "*rows D"]) -> Float[Array, "*rows D"]:
        scale = self.param("scale", nn.initializers.ones, x.shape[-1:])
        bias = self.param("bias", nn.initializers.zeros, x.shape[-1:])
        return normalise(x, scale, bias, self.epsilon)


@partial(jax.custom_vjp, nondiff_argnums=(3,))
def normalise(
    x: Float[Array, "*rows D"], scale: Float[AnyArray, " D"], bias: Float[AnyArray, " D"], epsilon: float
) -> Float[Array, "*rows D"]:
    """(x − mean) / √(variance + epsilon) · scale + bias over the last axis (Ba et al. 2016).

    Computed in float32, returned in the type of `x`. For the gradient, `x` and two numbers a row are kept; what lies
    between is computed again, which costs little compared with keeping four float32 arrays of the size of `x`.

    Args:
        x: what is normalised.
        scale: multiplied with the result.
        bias: added to it.
        epsilon: added to the variance.
    """
    return _forward(x, scale, bias, epsilon)[0]


def _forward(x: Array, scale: AnyArray, bias: AnyArray, epsilon: float) -> tuple[Array, tuple[AnyArray, ...]]:
    wide = at_least_float32(x)
    mean = wide.mean(-1, keepdims=True)
    # The variance from differences to the mean: E[x²] − E[x]² loses its digits where the mean is large.
    factor = jax.lax.rsqrt(((wide - mean) ** 2).mean(-1, keepdims=True) + epsilon)
    return ((wide - mean) * factor * scale + bias).astype(x.dtype), (x, mean, factor, scale, bias)


def _backward(epsilon: float, saved: tuple[AnyArray, ...], gradient: Array) -> tuple[Array, Array, Array]:
    # Without the barrier XLA finds the same operations in the forward pass, and keeps their results until now.
    (x, mean, factor, scale, bias), gradient = jax.lax.optimization_barrier((saved, gradient))
    standard, gradient = (at_least_float32(x) - mean) * factor, at_least_float32(gradient)
    over_rows = tuple(range(x.ndim - 1))
    grad_scale, grad_bias = (gradient * standard).sum(over_rows), gradient.sum(over_rows)
    # Back through (x − mean) · factor: both depend on the whole row, so two means over it are subtracted.
    grad_standard = gradient * scale
    along_mean = grad_standard.mean(-1, keepdims=True)
    along_x = (grad_standard * standard).mean(-1, keepdims=True)
    grad_x = factor * (grad_standard - along_mean - standard * along_x)
    return grad_x.astype(x.dtype), grad_scale.astype(scale.dtype), grad_bias.astype(bias.dtype)


normalise.defvjp(_forward, _backward)

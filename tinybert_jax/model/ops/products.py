"""Matrix products for networks that compute in bfloat16: sums in float32, forward and backward."""

from functools import partial

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from tinybert_jax.arrays import AnyArray
from tinybert_jax.model.ops import cpu_layout
from tinybert_jax.model.ops.platform import PORTABLE, Platform


def matmul(
    x: Float[Array, "*batch M K"], y: Float[AnyArray, "*batch K N"], platform: Platform = PORTABLE
) -> Float[Array, "*batch M N"]:
    """`x @ y`, multiplied in the type of `x` and accumulated in float32.

    The gradient has a rule of its own. By JAX's, float32 cotangents would be multiplied with bfloat16 operands, which
    turns every product of the backward pass into one in float32.

    Args:
        x: float32 or bfloat16.
        y: gradients come back in its type, so float32 weights get theirs unrounded.
        platform: what it runs on.

    Returns:
        float32, or float64 where that was given.
    """
    return _matmul(x, y, platform)


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def _matmul(x: Array, y: AnyArray, platform: Platform) -> Array:
    return jnp.matmul(x, y.astype(x.dtype), preferred_element_type=_sum_dtype(x))


def _sum_dtype(x: Array) -> jnp.dtype:
    return jnp.result_type(x, jnp.float32)


def at_least_float32(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """`x` in the type that its products are summed in: float32, or float64 where that was given."""
    return x.astype(_sum_dtype(x))


def _forward(x: Array, y: AnyArray, platform: Platform) -> tuple[Array, tuple[Array, AnyArray]]:
    return matmul(x, y, platform), (x, y)


def _backward(platform: Platform, saved: tuple[Array, AnyArray], gradient: Array) -> tuple[Array, Array]:
    x, y = saved
    gradient = gradient.astype(x.dtype)
    multiply = partial(jnp.matmul, preferred_element_type=_sum_dtype(x))
    # Written as an einsum, not as a product with a transposed `y`: XLA then reads `y` in the order it is stored.
    grad_x = jnp.einsum("...mn,...kn->...mk", gradient, y.astype(x.dtype), preferred_element_type=_sum_dtype(x))
    if x.shape[-1] <= y.shape[-1]:  # transpose the narrower one: fewer bytes are moved
        grad_y = multiply(transposed(x, platform), gradient)
    else:
        grad_y = transposed(multiply(transposed(gradient, platform), x), platform)
    return grad_x.astype(x.dtype), grad_y.astype(y.dtype)


_matmul.defvjp(_forward, _backward)


def transposed(x: Float[Array, "*batch M N"], platform: Platform) -> Float[Array, "*batch N M"]:
    """The last two axes exchanged. A GPU's products read either order at one speed."""
    return cpu_layout.transposed(x) if platform.cpu_layouts else jnp.swapaxes(x, -1, -2)


def heads_first(x: Float[Array, "B T N H"], platform: Platform) -> Float[Array, "B N T H"]:
    """The axes of tokens and of heads exchanged. A GPU's products read either order at one speed."""
    return cpu_layout.heads_first(x) if platform.cpu_layouts else jnp.swapaxes(x, 1, 2)


def exact_einsum(
    subscripts: str, x: Float[Array, "..."], y: Float[Array, "..."], platform: Platform = PORTABLE
) -> Float[Array, "..."]:
    """`einsum` of two arrays with products that are not rounded, summed in float32; float64 where that was given.

    For sums whose terms cancel, where TF32 or rounding to bfloat16 would show.

    Args:
        subscripts: as `jnp.einsum`'s.
        x: any shape and type.
        y: of the same type; or float32 where `x` is bfloat16, then exact to 16 bits of `y`.
        platform: what it runs on.
    """
    if not platform.exact_in_parts or x.dtype != jnp.bfloat16:
        return jnp.einsum(subscripts, at_least_float32(x), at_least_float32(y), precision=jax.lax.Precision.HIGHEST)
    if y.dtype == x.dtype:  # a product of two bfloat16 numbers fits a float32
        return jnp.einsum(subscripts, x, y, preferred_element_type=jnp.float32)
    # y = high + low, each with bfloat16's 8 bits. Not by a cast there and back: compilers may leave that out.
    high = jax.lax.reduce_precision(y, exponent_bits=8, mantissa_bits=7)
    multiply = partial(jnp.einsum, subscripts, x, preferred_element_type=jnp.float32)
    return multiply(high.astype(x.dtype)) + multiply((y - high).astype(x.dtype))

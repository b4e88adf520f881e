"""Matrix products for networks that compute in bfloat16: sums in float32, forward and backward."""

from functools import partial

import jax
import jax.numpy as jnp
from jax import Array


@jax.custom_vjp
def matmul(x: Array, y: Array) -> Array:
    """`x @ y`, multiplied in the type of `x` and accumulated in float32.

    Without the rule of its own for the gradient, the float32 cotangent would meet bfloat16 operands, and every
    product of the backward pass would be computed in float32.

    Args:
        x: (…, M, K), float32 or bfloat16.
        y: (…, K, N); gradients come back in its type, so float32 weights get theirs unrounded.

    Returns:
        (…, M, N) float32, or float64 where that was given.
    """
    return jnp.matmul(x, y.astype(x.dtype), preferred_element_type=_sums(x))


def _sums(x: Array) -> jnp.dtype:
    return jnp.result_type(x, jnp.float32)


def accurate(x: Array) -> Array:
    """`x` in the type that its products are summed in: float32, or float64 where that was given."""
    return x.astype(_sums(x))


def _forward(x: Array, y: Array) -> tuple[Array, tuple[Array, Array]]:
    return matmul(x, y), (x, y)


def _backward(saved: tuple[Array, Array], gradient: Array) -> tuple[Array, Array]:
    x, y = saved
    gradient = gradient.astype(x.dtype)
    of_x = jnp.einsum("...mn,...kn->...mk", gradient, y.astype(x.dtype), preferred_element_type=_sums(x))
    if x.shape[-1] <= y.shape[-1]:  # the narrower one is laid out anew
        of_y = jnp.matmul(transposed(x), gradient, preferred_element_type=_sums(x))
    else:
        of_y = transposed(jnp.matmul(transposed(gradient), x, preferred_element_type=_sums(x)))
    return of_x.astype(x.dtype), of_y.astype(y.dtype)


matmul.defvjp(_forward, _backward)


def transposed(x: Array) -> Array:
    """`x` (…, M, N) as (…, N, M), laid out anew where that pays: see `heads_first`."""
    *batch, rows, columns = x.shape
    if jax.default_backend() != "cpu" or rows % 2 or columns % 2:
        return jnp.swapaxes(x, -1, -2)
    tiles = x.reshape(*batch, rows // 2, 2, columns // 2, 2)
    return jax.lax.optimization_barrier(jnp.moveaxis(tiles, (-4, -3), (-2, -1)).reshape(*batch, columns, rows))


def heads_first(x: Array) -> Array:
    """`x` (B, T, N, H) as (B, N, T, H), laid out anew where that pays.

    XLA's CPU compiler folds a plain transposition into the product that reads it, which then takes up to twice as
    long; it does not see through one of pairs. A GPU's products read either layout at one speed.
    """
    batch, length, heads, width = x.shape
    if jax.default_backend() != "cpu" or length % 2:
        return jnp.swapaxes(x, 1, 2)
    pairs = x.reshape(batch, length // 2, 2, heads, width)
    return jax.lax.optimization_barrier(jnp.moveaxis(pairs, 3, 1).reshape(batch, heads, length, width))


def exact_einsum(subscripts: str, x: Array, y: Array) -> Array:
    """`einsum` of two arrays with products that are not rounded, summed in float32; float64 where that was given.

    For sums whose terms cancel, where TF32 or rounding to bfloat16 would show.

    Args:
        subscripts: as `jnp.einsum`'s.
        x: any shape and type.
        y: likewise, of the same type; or float32 where `x` is bfloat16, then exact to 16 bits of `y`.
    """
    if jax.default_backend() == "cpu" or x.dtype != jnp.bfloat16:
        return jnp.einsum(subscripts, accurate(x), accurate(y), precision=jax.lax.Precision.HIGHEST)
    if y.dtype == x.dtype:
        return jnp.einsum(subscripts, x, y, preferred_element_type=jnp.float32)
    high = jax.lax.reduce_precision(y, exponent_bits=8, mantissa_bits=7)  # compilers may skip a cast there and back
    multiply = partial(jnp.einsum, subscripts, x, preferred_element_type=jnp.float32)
    return multiply(high.astype(x.dtype)) + multiply((y - high).astype(x.dtype))

"""Matrix products for networks that compute in bfloat16: sums in float32, forward and backward."""

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


def _forward(x: Array, y: Array) -> tuple[Array, tuple[Array, Array]]:
    return matmul(x, y), (x, y)


def _backward(saved: tuple[Array, Array], gradient: Array) -> tuple[Array, Array]:
    x, y = saved
    gradient = gradient.astype(x.dtype)
    of_x = jnp.einsum("...mn,...kn->...mk", gradient, y.astype(x.dtype), preferred_element_type=_sums(x))
    of_y = jnp.einsum("...mk,...mn->...kn", x, gradient, preferred_element_type=_sums(x))
    return of_x.astype(x.dtype), of_y.astype(y.dtype)


matmul.defvjp(_forward, _backward)

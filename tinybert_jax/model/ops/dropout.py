"""Dropout from a counter-based hash: no stream of random bits is made, stored or moved.

Drawing random bits from a cryptographic generator takes longer than the layer that they are for. Here a hash of an
element's index and of the layer's key decides whether it is kept. XLA computes it inside the operation that reads the
result, and it depends on nothing else: the same key gives the same mask on one device or on many, at once or a block
at a time.
"""

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Int, PRNGKeyArray, UInt32


def _finalise(bits: UInt32[Array, "..."]) -> UInt32[Array, "..."]:
    """MurmurHash3's 32-bit finaliser: every input bit flips every output bit about half of the time."""
    bits = (bits ^ (bits >> 16)) * jnp.uint32(0x85EBCA6B)
    bits = (bits ^ (bits >> 13)) * jnp.uint32(0xC2B2AE35)
    return bits ^ (bits >> 16)


def _flat_index(shape: tuple[int, ...], whole: tuple[int, ...]) -> UInt32[Array, "..."]:
    """Row-major index in `whole` of each element of its leading block `shape`, modulo 2³².

    From an `iota` along each axis, not by `arange` and `reshape`, so that of a sharded array every device computes only
    its own part.
    """
    index, stride = jnp.zeros(shape, jnp.uint32), 1
    for axis in reversed(range(len(shape))):
        index += jax.lax.broadcasted_iota(jnp.uint32, shape, axis) * jnp.uint32(stride % 2**32)
        stride *= whole[axis]
    return index


def _kept(rate: float, key: PRNGKeyArray, index: UInt32[Array, "*shape"]) -> Bool[Array, "*shape"]:
    seed = jax.random.bits(key, (2,), jnp.uint32)
    # Two rounds: after one, any two keys would give the same bits in another order.
    bits = _finalise(_finalise(index ^ seed[0]) + seed[1])
    return bits >= jnp.uint32(rate * 2**32)


def dropout(x: Float[Array, "*shape"], rate: float, key: PRNGKeyArray) -> Float[Array, "*shape"]:
    """Zeroes each element of `x` with probability `rate` and scales the rest by 1 / (1 − rate).

    Args:
        x: what is dropped.
        rate: in [0, 1).
        key: a JAX random key; only 64 bits are drawn from it.
    """
    kept = _kept(rate, key, _flat_index(x.shape, x.shape))
    return jnp.where(kept, x / (1 - rate), 0).astype(x.dtype)


def kept_rows(
    shape: tuple[int, ...], rate: float, key: PRNGKeyArray, *, first: Int[Array, ""] | int, rows: int
) -> Bool[Array, "..."]:
    """What `dropout` leaves of rows [first, first + R) of a (…, rows, S) array: a mask of `shape`.

    Args:
        shape: (…, R, S).
        rate: in [0, 1).
        key: the whole array's key.
        first: the first row's number; may be traced.
        rows: the whole array's.
    """
    index = _flat_index(shape, (*shape[:-2], rows, shape[-1]))
    return _kept(rate, key, index + jnp.asarray(first, jnp.uint32) * jnp.uint32(shape[-1]))

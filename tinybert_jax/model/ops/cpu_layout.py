"""Ways around what XLA's CPU compiler does to the layouts of matrix products; all of it can go once XLA stops that.

`python -m benchmarks.layouts` times each with and without; one that no longer pays can be replaced by the plain
operation named in its docstring. With jax and jaxlib 0.10.2:

- an AMD EPYC of the fifth generation (avx512_bf16): `transposed` doubles a weight gradient's rate, 447 to 979 GFLOP/s,
  and a training step takes 1.28 s for 1.40 s; `heads_first` takes a step at 8 × 384 from 3.0 to 2.8 s;
- one of the third (AVX2), CPU milliseconds with and without, float32 and bfloat16: `transposed` 35 and 33, 60 and 41;
  both, in attention's gradients, 19 and 21, 17 and 23; `as_one_matrix` 33 and 31, 35 and 73. So there they hardly pay,
  but without `transposed` gradients of some odd sizes fail in bfloat16: "DotThunk: BF16 x BF16 = F32 unsupported".
"""

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Shaped


def transposed(x: Shaped[Array, "*batch M N"]) -> Shaped[Array, "*batch N M"]:
    """`jnp.swapaxes(x, -1, -2)`, written to memory in that order.

    XLA's CPU compiler folds a plain transposition into the product that reads it, which then takes a slower path, or,
    in bfloat16, one that does not exist. It does not recognise a transposition that is made of 2×2 tiles.
    """
    *batch, rows, columns = x.shape
    x = _even(x, axes=(-2, -1))
    tiles = x.reshape(*batch, x.shape[-2] // 2, 2, x.shape[-1] // 2, 2)
    moved = jnp.moveaxis(tiles, (-4, -3), (-2, -1)).reshape(*batch, x.shape[-1], x.shape[-2])
    return jax.lax.optimization_barrier(moved)[..., :columns, :rows]


def heads_first(x: Shaped[Array, "B T N H"]) -> Shaped[Array, "B N T H"]:
    """`jnp.swapaxes(x, 1, 2)`, written to memory in that order, as `transposed` does it: by pairs of tokens."""
    batch, length, heads, width = x.shape
    x = _even(x, axes=(1,))
    pairs = x.reshape(batch, x.shape[1] // 2, 2, heads, width)
    moved = jnp.moveaxis(pairs, 3, 1).reshape(batch, heads, x.shape[1], width)
    return jax.lax.optimization_barrier(moved)[:, :, :length]


def _even(x: Array, axes: tuple[int, ...]) -> Array:
    """`x` with a slice of zeros after the end of those axes that have an odd size."""
    odd = [axis % x.ndim for axis in axes if x.shape[axis] % 2]
    return jnp.pad(x, [(0, int(axis in odd)) for axis in range(x.ndim)]) if odd else x


def as_one_matrix(x: Shaped[Array, "*rows D"]) -> Shaped[Array, "R D"]:
    """`x` with all axes but the last in one, for a product with a matrix whose gradient takes longer otherwise.

    No data moves, so this is done on every platform.
    """
    return x.reshape(-1, x.shape[-1])

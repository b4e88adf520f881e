"""Parameters split over devices: each keeps a part, and the whole is there only while it is used."""

import jax
from jax import Array
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Float

from tinybert_jax.arrays import AnyArray


def gathered(
    kernel: Float[AnyArray, "D F"], x: Float[Array, "*rows D"], mesh: Mesh | None
) -> tuple[Float[AnyArray, "D F"], Float[Array, "*rows D"]]:
    """The kernel whole on every device, and what it is to be multiplied with.

    It is gathered once `x` is there, so that the kernels of later layers wait for theirs.

    Args:
        kernel: split over the mesh.
        x: the layer's input.
        mesh: None where nothing is split.
    """
    if mesh is None:
        return kernel, x
    kernel, x = jax.lax.optimization_barrier((kernel, x))
    return jax.lax.with_sharding_constraint(kernel, NamedSharding(mesh, PartitionSpec())), x


def by_rows(x: Float[Array, "B T D"], mesh: Mesh | None) -> Float[Array, "B T D"]:
    """Has a batch split by its rows, whatever it was looked up in."""
    if mesh is None:
        return x
    spec = PartitionSpec("data" if x.shape[0] > 1 else None)  # one row is every row's, as that of the positions
    return jax.lax.with_sharding_constraint(x, NamedSharding(mesh, spec))

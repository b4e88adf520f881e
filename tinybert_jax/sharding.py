"""Where arrays live: one mesh of all devices, batches split over it, parameters on every device."""

from typing import Any, TypeVar

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from tinybert_jax.errors import UserError

Batch = TypeVar("Batch")


def data_mesh() -> Mesh:
    """All devices along one axis, `data`: batches are split over it, parameters are on every device."""
    return jax.make_mesh((jax.device_count(),), ("data",), axis_types=(jax.sharding.AxisType.Auto,))


def replicate(tree: Any, mesh: Mesh) -> Any:
    """Copies every array of `tree` to every device; what is there already is copied too, so it may be donated."""
    return jax.device_put(tree, NamedSharding(mesh, PartitionSpec()), may_alias=False)


def shard_batch(batch: Batch, mesh: Mesh) -> Batch:
    """Splits a batch's rows over the devices.

    Raises:
        UserError: the batch size is not a multiple of the number of devices.
    """
    rows = jax.tree.leaves(batch)[0].shape[0]
    if rows % mesh.size:
        raise UserError(f"batch_size must be a multiple of the {mesh.size} devices, got {rows}")
    return jax.device_put(batch, NamedSharding(mesh, PartitionSpec("data")))

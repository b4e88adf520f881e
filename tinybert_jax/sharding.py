"""Where arrays live: one mesh of all devices, batches split over it, parameters on every device.

The devices may be those of several processes. Each process then makes the rows that its own devices hold.
"""

from typing import Any, TypeVar

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

Batch = TypeVar("Batch")


def data_mesh() -> Mesh:
    """All devices along one axis, `data`, process by process: batches are split over it, parameters are on each."""
    return _mesh(sorted(jax.devices(), key=lambda device: (device.process_index, device.id)))


def local_mesh() -> Mesh:
    """This process's devices along one axis, `data`: for what a process computes by itself."""
    return _mesh(jax.local_devices())


def _mesh(devices: list[Any]) -> Mesh:
    return Mesh(np.array(devices), ("data",), axis_types=(jax.sharding.AxisType.Auto,))


def on_each(mesh: Mesh) -> NamedSharding:
    """Of what every device of a mesh has whole."""
    return NamedSharding(mesh, PartitionSpec())


def replicate(tree: Any, mesh: Mesh) -> Any:
    """Copies every array of `tree` to every device; what is there already is copied too, so it may be donated.

    Every process has the same arrays.
    """
    sharding = on_each(mesh)
    if sharding.is_fully_addressable:
        return jax.device_put(tree, sharding, may_alias=False)
    return jax.tree.map(lambda x: jax.make_array_from_callback(np.shape(x), sharding, lambda _: np.asarray(x)), tree)


def split(tree: Any, mesh: Mesh) -> Any:
    """Splits every matrix of `tree` over the devices, along the longest axis that they divide; the rest is on each.

    Every process has the same arrays.
    """

    def place(x: Any) -> jax.Array:
        sizes = [size if size % mesh.size == 0 and np.ndim(x) > 1 else 0 for size in np.shape(x)]
        longest = int(np.argmax(sizes)) if any(sizes) else -1
        spec = PartitionSpec(*("data" if axis == longest else None for axis in range(np.ndim(x))))
        return jax.make_array_from_callback(np.shape(x), NamedSharding(mesh, spec), lambda part: np.asarray(x[part]))

    return jax.tree.map(place, tree)


def local_rows(rows: int, mesh: Mesh) -> slice:
    """Which rows of a batch this process's devices hold.

    Args:
        rows: B; where the devices do not divide it, filler rows follow up to the next multiple, and count here.
        mesh: of `data_mesh`.
    """
    each = -(-rows // mesh.size)
    mine = [i for i, device in enumerate(mesh.devices.flat) if device.process_index == jax.process_index()]
    return slice(mine[0] * each, (mine[-1] + 1) * each)


def shard_rows(batch: Batch, mesh: Mesh) -> Batch:
    """Puts rows on the devices, as one batch of all processes' rows.

    Args:
        batch: arrays of the rows that `local_rows` says.
        mesh: what to split it over.
    """
    return jax.make_array_from_process_local_data(NamedSharding(mesh, PartitionSpec("data")), batch)


def shard_batch(batch: Batch, mesh: Mesh) -> Batch:
    """Splits a batch's rows over the devices; every process has the whole batch.

    Where the devices do not divide its rows, filler rows follow them: zeros, of which none is a real token.
    """
    rows = jax.tree.leaves(batch)[0].shape[0]
    mine, missing = local_rows(rows, mesh), -rows % mesh.size

    def share(x: Any) -> Any:
        return (np.pad(x, [(0, missing), *[(0, 0)] * (np.ndim(x) - 1)]) if missing else x)[mine]

    return shard_rows(jax.tree.map(share, batch), mesh)

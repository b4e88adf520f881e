import jax
import numpy as np
import pytest
from jax.sharding import Mesh

from tinybert_jax.sharding import data_mesh, local_mesh, local_rows, shard_batch


class Devices:
    """A mesh's devices, of which the test's process has some."""

    def __init__(self, *processes):
        kind = type("Device", (), {})
        self.devices = np.array([kind() for _ in processes])
        for device, process in zip(self.devices, processes, strict=True):
            device.process_index = process
        self.size = len(processes)


@pytest.mark.parametrize(
    ("processes", "rows", "expected"),
    [
        ([0, 0, 1, 1], 8, slice(0, 4)),
        ([1, 1, 0, 0], 8, slice(4, 8)),
        ([1, 0, 2], 7, slice(3, 6)),
        ([1, 0], 1, slice(1, 2)),  # filler alone
    ],
    ids=["first", "last", "padded", "filler"],
)
def test_a_process_has_the_rows_of_its_devices(processes, rows, expected):
    assert local_rows(rows, Devices(*processes)) == expected


def test_one_process_has_every_device_and_every_row():
    assert data_mesh() == local_mesh() == Mesh(np.array(jax.devices()), ("data",))
    placed = shard_batch({"x": np.arange(6).reshape(3, 2), "none": None}, data_mesh())
    assert placed["none"] is None
    np.testing.assert_array_equal(placed["x"], np.arange(6).reshape(3, 2))

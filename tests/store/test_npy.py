import numpy as np
import pytest

from tinybert_jax.store.npy import NpyWriter, npy_header


def test_rows_appended_are_read_back(tmp_path):
    path = tmp_path / "rows.npy"
    with NpyWriter(path, np.float32, (3,)) as writer:
        for count in (1, 0, 5):
            writer.append(np.full((count, 3), count, np.float64))
    read = np.load(path, mmap_mode="r")
    assert read.dtype == np.float32
    assert read[:, 0].tolist() == [1, 5, 5, 5, 5, 5]


def test_the_header_leaves_room_for_any_length(tmp_path):
    with NpyWriter(tmp_path / "a.npy", np.int32) as writer:
        writer.append(np.arange(1_000_003))
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), np.arange(1_000_003))


def test_rows_of_another_shape_are_refused(tmp_path):
    with NpyWriter(tmp_path / "a.npy", np.int32, (2,)) as writer, pytest.raises(ValueError, match=r"got \(4, 3\)"):
        writer.append(np.zeros((4, 3)))


def test_the_header_is_numpy_s_and_as_long_for_any_length(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((5, 2), np.float16))
    header = npy_header(np.float16, (5, 2))
    assert (tmp_path / "a.npy").read_bytes() == header + bytes(20)
    assert len(npy_header(np.float16, (10**12, 2))) == len(header)

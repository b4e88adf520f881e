"""Files of numpy's .npy format that are written row by row."""

import io
from pathlib import Path
from types import TracebackType

import numpy as np


def npy_header(dtype: np.typing.DTypeLike, shape: tuple[int, ...]) -> bytes:
    """How the file of an array in C order begins; as long for any number of rows."""
    header = io.BytesIO()
    description = {"descr": np.dtype(dtype).str, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(header, description)
    return header.getvalue()


class NpyWriter:
    """Context manager around a .npy file whose number of rows is known at the end only; complete once it is left."""

    def __init__(self, path: Path, dtype: np.typing.DTypeLike, row_shape: tuple[int, ...] = ()) -> None:
        """Names the file, replaced if it exists, and what its rows are."""
        self._path, self._dtype, self._row_shape = path, np.dtype(dtype), row_shape
        self.rows = 0

    def __enter__(self) -> "NpyWriter":
        self._file = self._path.open("wb")
        self._file.write(self._header())
        self._data_begin = self._file.tell()
        return self

    def append(self, rows: np.ndarray) -> None:
        """Adds rows, (N, *row_shape)."""
        if rows.shape[1:] != self._row_shape:
            raise ValueError(f"rows must be (N, {self._row_shape}), got {rows.shape}")
        self._file.write(np.ascontiguousarray(rows, self._dtype).data)
        self.rows += len(rows)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with self._file:
            self._file.seek(0)
            self._file.write(self._header())
            assert self._file.tell() == self._data_begin  # numpy leaves room for the first axis to grow

    def _header(self) -> bytes:
        return npy_header(self._dtype, (self.rows, *self._row_shape))

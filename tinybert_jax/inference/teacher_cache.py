"""A teacher's logits, computed once for each window and kept on disk between epochs and between runs.

A cache is a folder named by a hash of all that decides the logits, so that a changed ingredient never meets a stale
one. In it, `logits.npy` grows block by block, and after each block `finished.json` says how many windows it holds and
what their bytes' checksum is. However a run ended, the next one keeps what that record vouches for, and no more.

Left out: eviction. A cache may be deleted whenever no run uses it.
"""

import hashlib
import io
import os
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from tinybert_jax.data import Windows
from tinybert_jax.errors import UserError
from tinybert_jax.inference.predict import predict_blocks
from tinybert_jax.model import Model
from tinybert_jax.store.digests import add_params
from tinybert_jax.store.files import alone, read_json, write_json

CacheDtype = Literal["float16", "float32"]

_FORMAT = 1  # raised when the same ingredients would give other logits or files
_BLOCK = 1024  # windows: the most that a killed run loses


def cached_logits(
    teacher: Model,
    windows: Windows,
    data_key: str,
    folder: Path,
    dtype: CacheDtype,
    *,
    batch_size: int = 32,
    buckets: Sequence[int] = (),
) -> np.ndarray:
    """Start and end logits of every token of every window, computed where the cache does not hold them.

    A damaged cache is computed again. Of two processes that want the same cache, one computes and the other waits.

    Args:
        teacher: the model; its config says what it computes in.
        windows: W windows.
        data_key: their `windows_key`.
        folder: where caches are kept, each in a folder of its own.
        dtype: what the logits are stored in.
        batch_size: windows a forward. Neither this, nor the buckets, nor the device take part in the cache's key:
            they change logits by rounding alone.
        buckets: batch lengths.

    Returns:
        (total tokens, 2), a read-only memory-map, aligned with `windows.tokens`.

    Raises:
        UserError: logits that are not finite, or too large for float16: clipped ones would be other labels.
    """
    cache = _Cache(Path(folder) / logits_key(teacher, data_key, dtype), windows, np.dtype(dtype))
    cache.folder.mkdir(parents=True, exist_ok=True)
    with alone(cache.folder / "lock", "the same teacher's logits"):
        finished = cache.read_finished()
        if finished.windows < len(windows):
            settings = {"batch_size": batch_size, "buckets": buckets, "label": "teacher's logits"}
            blocks = predict_blocks(
                teacher.network, teacher.params, windows, block=_BLOCK, first=finished.windows, **settings
            )
            cache.append(finished, blocks)
        return np.load(cache.path, mmap_mode="r")


def logits_key(teacher: Model, data_key: str, dtype: CacheDtype) -> str:
    """Hashes all that decides a cache: the teacher's config and parameters, the windows and the stored type."""
    sha256 = hashlib.sha256(repr((_FORMAT, teacher.config, data_key, dtype)).encode())
    add_params(sha256, teacher.params)
    return sha256.hexdigest()


class _Finished(NamedTuple):
    """The sound beginning of a cache's file."""

    windows: int
    crc32: int  # of all bytes up to there, the header's too


class _Cache(NamedTuple):
    folder: Path
    windows: Windows
    dtype: np.dtype

    @property
    def path(self) -> Path:
        return self.folder / "logits.npy"

    def header(self) -> bytes:
        """How the file of all the windows begins."""
        header, shape = io.BytesIO(), (len(self.windows.tokens), 2)
        np.lib.format.write_array_header_1_0(header, {"descr": self.dtype.str, "fortran_order": False, "shape": shape})
        return header.getvalue()

    def size(self, count: int) -> int:
        """Bytes of the file up to the end of the first `count` windows."""
        return len(self.header()) + int(self.windows.row_splits[count]) * 2 * self.dtype.itemsize

    def read_finished(self) -> _Finished:
        """What the file holds by its record, if the checksum agrees; else nothing."""
        try:
            match read_json(self.folder / "finished.json"):
                case {"windows": int(count), "crc32": int(crc32)} if 0 < count <= len(self.windows):
                    content = np.memmap(self.path, np.uint8, "r", shape=(self.size(count),))
                    if zlib.crc32(content.data) == crc32:
                        return _Finished(count, crc32)
        except (OSError, ValueError):  # missing, too short, not JSON
            pass
        return _Finished(0, zlib.crc32(self.header()))

    def append(self, finished: _Finished, blocks: Iterable[np.ndarray]) -> None:
        """Writes the blocks that follow the finished windows, and records each once it is on the disk."""
        count, crc32 = finished
        if not count:
            self.path.unlink(missing_ok=True)  # whoever still maps a damaged file keeps it
            self.path.write_bytes(self.header())
        with self.path.open("r+b") as file:
            file.truncate(self.size(count))
            file.seek(0, os.SEEK_END)
            for logits in blocks:
                content = _cast(logits, self.dtype).tobytes()
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
                count, crc32 = min(count + _BLOCK, len(self.windows)), zlib.crc32(content, crc32)
                write_json(self.folder / "finished.json", _Finished(count, crc32)._asdict())


def _cast(logits: np.ndarray, dtype: np.dtype) -> np.ndarray:
    with np.errstate(over="ignore"):
        stored = logits.astype(dtype)
    if not np.isfinite(stored).all():
        raise UserError(
            f"the teacher's logits must be finite in {dtype}, whose largest number is {np.finfo(dtype).max}, got "
            f"{logits[~np.isfinite(stored)][0]}: use --teacher-cache float32, or another teacher"
        )
    return stored

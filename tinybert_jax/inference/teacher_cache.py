"""A teacher's logits, computed once for each window and kept on disk between epochs and between runs.

They are one array in one file, which grows block by block: however a run ended, the next one goes on behind its last
block.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float

from tinybert_jax.data import Windows
from tinybert_jax.errors import UserError
from tinybert_jax.inference.network import JaxNetwork
from tinybert_jax.inference.predict import predict_blocks
from tinybert_jax.model import Model
from tinybert_jax.model.ops.platform import Platform
from tinybert_jax.sharding import local_mesh
from tinybert_jax.store.cache import Entry
from tinybert_jax.store.digests import add_params, new_key
from tinybert_jax.store.npy import npy_header
from tinybert_jax.store.shares import fill_together

CacheDtype = Literal["float16", "float32"]

_BLOCK = 1024  # windows: the most that a killed run loses
_FILE = "logits.npy"


def cached_logits(
    teacher: Model,
    windows: Windows,
    data_key: str,
    cache_dir: Path,
    dtype: CacheDtype,
    *,
    batch_size: int = 32,
    buckets: Sequence[int] = (),
) -> Float[np.ndarray, "tokens 2"]:
    """Start and end logits of every token of every window, computed where the cache does not hold them.

    Args:
        teacher: the model; its config says what it computes in.
        windows: W windows.
        data_key: their `windows_key`.
        cache_dir: the cache's folder.
        dtype: what the logits are stored in.
        batch_size: windows in a forward pass. Neither this, nor the buckets, nor the device take part in the cache's
            key: they change logits by rounding alone.
        buckets: batch lengths.

    Returns:
        Logits, a read-only memory-map, aligned with `windows.tokens`.

    Raises:
        UserError: logits that are not finite, or too large for float16: clipped ones would be other labels.
    """
    stored = np.dtype(dtype)
    header = npy_header(stored, (len(windows.tokens), 2))

    def make(entry: Entry, blocks: range) -> None:
        begin = blocks.start * _BLOCK
        before = 0 if begin else len(header)
        if before and _FILE not in entry.parts:
            entry.append(_FILE, header)
        done = (entry.parts[_FILE].size - before) // (2 * stored.itemsize) if _FILE in entry.parts else 0  # tokens
        # On the platform of training: what a student learns from does not follow what is fastest without a gradient.
        network = JaxNetwork(teacher, Platform.of(local_mesh()))
        predicted = predict_blocks(
            network,
            windows,
            block=_BLOCK,
            first=int(np.searchsorted(windows.row_splits, windows.row_splits[begin] + done)),
            last=blocks.stop * _BLOCK,
            batch_size=batch_size,
            buckets=buckets,
            label="teacher's logits",
        )
        for logits in predicted:
            entry.append(_FILE, _cast(logits, stored).tobytes())

    entry = Entry(Path(cache_dir), "logits", logits_key(teacher, data_key, dtype))
    folder = fill_together(entry, -(-len(windows) // _BLOCK), make)
    return np.load(folder / _FILE, mmap_mode="r")


def logits_key(teacher: Model, data_key: str, dtype: CacheDtype) -> str:
    """Hashes all that decides a cache: the teacher's config and parameters, the windows and the stored type."""
    key = new_key(teacher.config, data_key, dtype)
    add_params(key, teacher.params)
    return key.hexdigest()


def _cast(logits: np.ndarray, dtype: np.dtype) -> np.ndarray:
    with np.errstate(over="ignore"):
        stored = logits.astype(dtype)
    if not np.isfinite(stored).all():
        raise UserError(
            f"the teacher's logits must be finite in {dtype}, whose largest number is {np.finfo(dtype).max}, got "
            f"{logits[~np.isfinite(stored)][0]}: use --teacher-cache float32, or another teacher"
        )
    return stored

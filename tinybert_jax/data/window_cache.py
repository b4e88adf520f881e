"""Windows kept on disk, built a few thousand questions at a time, so that data of any size takes flat memory."""

import hashlib
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tinybert_jax.data.arrow import ArrowExamples
from tinybert_jax.data.example import Example
from tinybert_jax.data.tokenizer import bare_backend
from tinybert_jax.data.windows import WindowConfig, Windows, build_windows, window_blocks
from tinybert_jax.errors import UserError
from tinybert_jax.store.files import atomic_path
from tinybert_jax.store.npy import NpyWriter

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

_FORMAT = 2  # raised when the same examples and settings would give other windows or files
_BLOCK = 4096  # questions windowed at a time
_ROW_SHAPES = {"offsets": (2,)}
_DTYPES = {"row_splits": np.int64}


def load_windows(
    examples: Iterable[Example],
    tokenizer: "PreTrainedTokenizerFast",
    config: WindowConfig,
    cache_dir: str | Path | None,
    key: str | None = None,
) -> Windows:
    """Returns `build_windows`' windows, memory-mapped from a cache where one is given.

    The cache is a folder below `cache_dir`, named by a hash of all that decides the windows. It is written
    when missing or damaged.

    Args:
        examples: the questions; with a cache they are iterated, never held: `ArrowExamples` may be of any size.
        tokenizer: as `build_windows` has it.
        config: likewise.
        cache_dir: where caches are kept, each in a folder of its own.
        key: their `windows_key`, by a caller that needs it too: large data takes seconds to hash.

    Raises:
        UserError: as `build_windows`, or the cache cannot be read back.
    """
    if cache_dir is None:
        return build_windows(list(examples), tokenizer, config)
    folder = Path(cache_dir) / (key or windows_key(examples, tokenizer, config))
    windows = _read(folder)
    if windows is None:
        with atomic_path(folder) as temporary:
            temporary.mkdir()
            _write(temporary, window_blocks(examples, tokenizer, config, _BLOCK))
        windows = _read(folder)
        if windows is None:
            raise UserError(f"the windows just written to {folder} cannot be read back: is the disk sound?")
    return windows


def windows_key(examples: Iterable[Example], tokenizer: "PreTrainedTokenizerFast", config: WindowConfig) -> str:
    """Hashes all that decides `build_windows`' windows: the texts and labels, the tokenizer and the settings."""
    sha256 = hashlib.sha256(repr((_FORMAT, asdict(config), bare_backend(tokenizer).to_str())).encode())
    if isinstance(examples, ArrowExamples):
        sha256.update(examples.digest().encode())
    else:
        for example in examples:
            sha256.update(repr((example.question, example.context, example.answers[:1])).encode())
    return sha256.hexdigest()


def _write(folder: Path, blocks: Iterable[Windows]) -> None:
    with ExitStack() as stack:
        columns = {
            name: stack.enter_context(
                NpyWriter(folder / f"{name}.npy", _DTYPES.get(name, np.int32), _ROW_SHAPES.get(name, ()))
            )
            for name in (field.name for field in fields(Windows))
        }
        columns["row_splits"].append(np.zeros(1))
        for windows in blocks:
            begin = columns["tokens"].rows
            rows = vars(windows) | {"row_splits": windows.row_splits[1:] + begin}
            for name, column in columns.items():
                column.append(rows[name])


def _read(folder: Path) -> Windows | None:
    try:
        columns = {field.name: np.load(folder / f"{field.name}.npy", mmap_mode="r") for field in fields(Windows)}
    except (OSError, ValueError, EOFError):
        return None
    windows = Windows(**columns)
    per_window = (windows.context_begin, windows.example, windows.start, windows.end)
    sound = all(column.shape == (len(windows),) for column in per_window)
    sound = sound and windows.tokens.shape == (windows.row_splits[-1],)
    return windows if sound and windows.offsets.shape == (len(windows.tokens), 2) else None

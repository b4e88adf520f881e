"""Windows kept on disk, built a few thousand questions at a time, so that data of any size takes flat memory."""

from collections.abc import Collection, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, fields
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tinybert_jax.data.arrow import ArrowExamples
from tinybert_jax.data.example import Example
from tinybert_jax.data.tokenizer import bare_backend
from tinybert_jax.data.windows import WindowConfig, Windows, build_windows, window_blocks
from tinybert_jax.store.cache import Entry
from tinybert_jax.store.digests import new_key
from tinybert_jax.store.npy import NpyWriter
from tinybert_jax.store.shares import fill_together

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

_BLOCK = 4096  # questions windowed at a time
_ROW_SHAPES = {"offsets": (2,)}
_DTYPES = {"row_splits": np.int64}


def load_windows(
    examples: Collection[Example],
    tokenizer: "PreTrainedTokenizerFast",
    config: WindowConfig,
    cache_dir: str | Path | None,
    key: str | None = None,
) -> Windows:
    """Returns `build_windows`' windows, memory-mapped from the cache where one is given, which keeps them.

    Args:
        examples: the questions; with a cache they are iterated, never held: `ArrowExamples` may be of any size.
        tokenizer: as in `build_windows`.
        config: as in `build_windows`.
        cache_dir: the cache's folder.
        key: their `windows_key`, by a caller that needs it too: large data takes seconds to hash.

    Raises:
        UserError: as `build_windows`, or the cache cannot be written to.
    """
    if cache_dir is None:
        return build_windows(list(examples), tokenizer, config)

    def make(entry: Entry, blocks: range) -> None:
        first = blocks.start * _BLOCK
        questions = _between(examples, first, blocks.stop * _BLOCK)
        with entry.adding() as folder:
            _write(folder, window_blocks(questions, tokenizer, config, _BLOCK, first))

    entry = Entry(Path(cache_dir), "windows", key or windows_key(examples, tokenizer, config))
    return _read(fill_together(entry, -(-len(examples) // _BLOCK), make, _join))


def _between(examples: Iterable[Example], begin: int, end: int) -> Iterable[Example]:
    is_file = isinstance(examples, ArrowExamples)  # which need not be read from its beginning
    return examples.between(begin, end) if is_file else islice(examples, begin, end)


def _join(entry: Entry, shares: Sequence[Path]) -> None:
    with entry.adding() as folder:
        _write(folder, map(_read, shares))


def _read(folder: Path) -> Windows:
    return Windows(**{field.name: np.load(folder / f"{field.name}.npy", mmap_mode="r") for field in fields(Windows)})


def windows_key(examples: Iterable[Example], tokenizer: "PreTrainedTokenizerFast", config: WindowConfig) -> str:
    """Hashes all that decides `build_windows`' windows: the texts and labels, the tokenizer and the settings."""
    key = new_key(asdict(config), bare_backend(tokenizer).to_str())
    if isinstance(examples, ArrowExamples):
        key.update(examples.digest().encode())
    else:
        for example in examples:
            key.update(repr((example.question, example.context, example.answers[:1])).encode())
    return key.hexdigest()


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

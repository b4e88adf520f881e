"""A data set ready for a model: questions, and the windows cut from them."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from tinybert_jax.data.example import Example
from tinybert_jax.data.sources import read_squad
from tinybert_jax.data.window_cache import load_windows, windows_key
from tinybert_jax.data.windows import WindowConfig, Windows

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


class Dataset(NamedTuple):
    """Questions and the windows built from them, with a hash of what decides the windows where one is known.

    Neither needs to be in memory: windows may be memory-mapped, and the questions of an .arrow file are read whenever
    they are asked for.
    """

    examples: Sequence[Example]
    windows: Windows
    key: str = ""

    @property
    def is_labelled(self) -> bool:
        """Whether somebody has said what the answers are: to all questions or to none. A corpus has no question."""
        return len(self.examples) > 0 and self.examples[0].is_labelled


def read_dataset(
    source: str,
    tokenizer: "PreTrainedTokenizerFast",
    config: WindowConfig,
    cache_dir: Path,
    questions: int | None = None,
    seed: int = 0,
) -> Dataset:
    """Reads a data set, or a sample of its questions, and cuts it into windows.

    Args:
        source: as in `read_squad`.
        tokenizer: as in `build_windows`.
        config: as in `build_windows`.
        cache_dir: the cache's folder.
        questions: how many are sampled at random; None for all.
        seed: of that sample.

    Raises:
        UserError: as `read_squad`, or as `build_windows`.
    """
    return window_dataset(sample(read_squad(source), questions, seed), tokenizer, config, cache_dir)


def window_dataset(
    examples: Sequence[Example],
    tokenizer: "PreTrainedTokenizerFast",
    config: WindowConfig,
    cache_dir: Path,
) -> Dataset:
    """Cuts questions into windows; arguments as in `read_dataset`."""
    key = windows_key(examples, tokenizer, config)
    return Dataset(examples, load_windows(examples, tokenizer, config, cache_dir, key), key)


def sample(examples: Sequence[Example], count: int | None, seed: int) -> Sequence[Example]:
    """`count` examples at random, in their order; all of them when there are no more."""
    if count is None or count >= len(examples):
        return examples
    chosen = np.random.default_rng(seed).choice(len(examples), count, replace=False)
    return [examples[i] for i in sorted(chosen)]

"""Text in, integer arrays out: SQuAD examples, token windows, batches."""

from tinybert_jax.data.batches import Batch, Epochs, collate, default_buckets, eval_batches
from tinybert_jax.data.dataset import Dataset, read_dataset
from tinybert_jax.data.example import Example, GoldAnswer
from tinybert_jax.data.sources import read_squad
from tinybert_jax.data.tokenizer import load_tokenizer
from tinybert_jax.data.window_cache import load_windows
from tinybert_jax.data.windows import WindowConfig, Windows, build_windows

__all__ = [
    "Batch",
    "Dataset",
    "Epochs",
    "Example",
    "GoldAnswer",
    "WindowConfig",
    "Windows",
    "build_windows",
    "collate",
    "default_buckets",
    "eval_batches",
    "load_tokenizer",
    "load_windows",
    "read_dataset",
    "read_squad",
]

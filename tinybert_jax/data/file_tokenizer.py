"""A tokenizer that is saved as the very files it was loaded from. Imports transformers: load it late."""

from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerFast

from tinybert_jax.hub import TOKENIZER_FILES


class FileTokenizer(PreTrainedTokenizerFast):
    """The pipeline of a tokenizer.json as it stands, where transformers' classes for BERT and RoBERTa build their own.

    Attributes:
        stored: the folder's files on tokenising, by name, as they were when it was loaded: training takes hours.
    """

    stored: dict[str, bytes]

    @classmethod
    def load(cls, folder: Path, **options: Any) -> "FileTokenizer":
        """`from_pretrained`, with the files remembered."""
        tokenizer = cls.from_pretrained(str(folder), **options)
        tokenizer.stored = {name: (folder / name).read_bytes() for name in TOKENIZER_FILES if (folder / name).is_file()}
        return tokenizer

    def save_pretrained(self, save_directory: Any, *_: Any, **__: Any) -> tuple[str, ...]:
        """Writes the files byte for byte, and returns their paths.

        Beside a model, one key of tokenizer_config.json is then set: `model_max_length` (`model.pretrained`).
        """
        folder = Path(save_directory)
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in self.stored.items():
            (folder / name).write_bytes(content)
        return tuple(str(folder / name) for name in self.stored)

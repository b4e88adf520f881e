"""A tokenizer that several modules' tests use."""

import string

import pytest

from tinybert_jax.data import load_tokenizer

SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
PIECES = [*string.ascii_lowercase, *string.digits, *string.punctuation, "ᄒ", "ᅡ", "ᆫ", "中", "ß", "é"]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    """A word is cut into its characters, so that token positions are easily counted."""
    folder = tmp_path_factory.mktemp("tokenizer")
    vocabulary = [*SPECIALS, *PIECES, *("##" + piece for piece in PIECES)]
    (folder / "vocab.txt").write_text("\n".join(vocabulary) + "\n", encoding="utf-8")
    return load_tokenizer(folder)

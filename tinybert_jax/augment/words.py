"""A text's words with their place in it, as BERT's pre-tokenizer finds them, and the pieces of each."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tinybert_jax.data.character_ranges import character_ranges
from tinybert_jax.data.tokenizer import bare_backend
from tinybert_jax.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


@dataclass(frozen=True, eq=False)
class Words:
    """The W words of one text; word w is `text[begin[w]:end[w]]`, its pieces `pieces[splits[w]:splits[w + 1]]`."""

    begin: np.ndarray  # (W,) int64, characters
    end: np.ndarray  # (W,) int64, what the tokenizer removes after the word included
    pieces: np.ndarray  # (P,) int32, vocabulary ids
    splits: np.ndarray  # (W + 1,) int64
    normalized: tuple[str, ...]  # each word as the tokenizer reads it: lower-cased, say

    def __len__(self) -> int:
        return len(self.begin)


def split_words(texts: Sequence[str], tokenizer: "PreTrainedTokenizerFast") -> Iterator[Words]:
    """Yields the words of each text.

    Punctuation marks and CJK characters are words of their own. What the tokenizer removes after a word belongs to it,
    as in `character_ranges`: whoever replaces "é", written as two characters, must not leave the accent behind.

    Args:
        texts: any texts, empty ones too.
        tokenizer: a BERT's.
    """
    backend = bare_backend(tokenizer)
    normalize = backend.normalizer.normalize_str if backend.normalizer else str
    encodings = backend.encode_batch(list(texts), add_special_tokens=False)
    ranges, done = character_ranges(encodings, texts, backend).astype(np.int64), 0
    for text, encoding in zip(texts, encodings, strict=True):
        counts = [len(list(same)) for _, same in itertools.groupby(encoding.word_ids)]
        splits = np.cumsum([0, *counts])
        begin, end = ranges[done + splits[:-1], 0], ranges[done + splits[1:] - 1, 1]
        normalized = tuple(normalize(text[b:e]) for b, e in zip(begin, end, strict=True))
        yield Words(begin, end, np.array(encoding.ids, np.int32), splits, normalized)
        done += len(encoding)


def replaceable_ids(tokenizer: "PreTrainedTokenizerFast", allowed: Callable[[str], bool]) -> np.ndarray:
    """Which vocabulary entries may stand for a word: (V,) bool, V the largest id + 1.

    Never special tokens, reserved ones ("[unused7]"), or pieces that continue a word.

    Args:
        tokenizer: a BERT's.
        allowed: says of the other entries, as text, whether they may.

    Raises:
        UserError: a tokenizer without a mask token or without pieces that continue a word.
    """
    vocabulary = tokenizer.get_vocab()
    if tokenizer.mask_token_id is None or not any(piece.startswith("##") for piece in vocabulary):
        raise UserError("augmentation needs a BERT's tokenizer, with [MASK] and '##' pieces: choose another --model")
    replaceable = np.zeros(max(vocabulary.values()) + 1, bool)
    for piece, id_ in vocabulary.items():
        is_reserved = len(piece) > 1 and piece[0] == "[" and piece[-1] == "]"
        replaceable[id_] = not is_reserved and not piece.startswith("##") and allowed(piece)
    replaceable[tokenizer.all_special_ids] = False
    return replaceable

"""Where tokens stand in their text: the characters that an answer is read off.

The tokenizers library gives each token the characters that it was made of. Two kinds are missing there or too many:

- What the normalizer removed (a combining mark under `strip_accents`; a zero-width or other format character) or
  joined to the character before it (a mark composed with its letter) is in no token at a word's end, and an answer read
  off its tokens would lose it: "cafe" for "café" written as five characters. It belongs to the token that it follows
  without a space between, as a mark belongs to its letter. Where it follows a space or begins the text it belongs to
  none: a mark of direction, say, in front of a word.
- A byte-level token and a SentencePiece token hold the space before their word; and SentencePiece's token for nothing
  but that space, "▁", holds the word's first character, or a space.
"""

from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np

_SPACE = ord(" ")
_SPACE_TOKEN = "▁"


def character_ranges(encodings: Sequence[Any], texts: Sequence[str], backend: Any) -> np.ndarray:
    """Returns each token's characters, [begin, end) in its text: (total tokens, 2) int32, text after text.

    Args:
        encodings: the tokenizers library's results.
        texts: what they are the tokens of.
        backend: that library's tokenizer, which made them.
    """
    lengths = np.fromiter(map(len, encodings), np.int64, len(encodings))
    bounds = chain.from_iterable(chain.from_iterable(encoding.offsets for encoding in encodings))
    offsets = np.fromiter(bounds, np.int32, 2 * lengths.sum()).reshape(-1, 2)
    characters = np.frombuffer("".join([*texts, "|"]).encode("utf-32-le"), np.uint32)
    sizes = np.fromiter(map(len, texts), np.int64, len(texts))
    text_end = np.repeat(np.cumsum(sizes), lengths)
    text_begin = text_end - np.repeat(sizes, lengths)
    begin, end = (offsets + text_begin[:, None]).T
    is_space = _spaces(characters, backend.normalizer)
    begin = _past_spaces(begin, end, is_space)
    if (space_token := _space_token(backend)) is not None:
        ids = np.fromiter(chain.from_iterable(encoding.ids for encoding in encodings), np.int64, lengths.sum())
        end = np.where(ids == space_token, begin, end)
    if backend.normalizer is not None:
        end = _past_swallowed(begin, end, text_end, is_space)
    return np.stack([begin - text_begin, end - text_begin], axis=1).astype(np.int32)


def _spaces(characters: np.ndarray, normalizer: Any | None) -> np.ndarray:
    """Which code points are " ", or what the normalizer makes nothing but spaces of."""
    if normalizer is None:
        return characters == _SPACE
    table = np.bincount(characters) > 0
    distinct = np.flatnonzero(table)
    table[distinct] = [normalizer.normalize_str(chr(code)).isspace() for code in distinct.tolist()]
    return table[characters]


def _space_token(backend: Any) -> int | None:
    """The id of SentencePiece's token for a space and nothing else; None in tokenizers of another kind."""
    return backend.token_to_id(_SPACE_TOKEN) if type(backend.model).__name__ == "Unigram" else None


def _past_spaces(begin: np.ndarray, end: np.ndarray, is_space: np.ndarray) -> np.ndarray:
    """Moves each token's begin past the spaces there; a lone space becomes empty.

    The tokenizers library trims them where `trim_offsets` says so, except from a text's first token under
    `add_prefix_space`.
    """
    begin = begin.copy()
    while (more := (begin < end) & is_space[begin]).any():
        begin += more
    return begin


def _past_swallowed(begin: np.ndarray, end: np.ndarray, text_end: np.ndarray, is_space: np.ndarray) -> np.ndarray:
    """Moves each token's end past the characters there that are neither spaces nor any token's."""
    end = end.copy()
    size = len(is_space) + 1
    opened, closed = (np.cumsum(np.bincount(bounds, minlength=size)) for bounds in (begin, end))
    is_swallowed = (opened == closed)[:-1] & ~is_space
    tokens = np.flatnonzero((begin < end) & (end < text_end))
    while len(tokens):
        tokens = tokens[is_swallowed[end[tokens]]]  # few: most tokens end where a space is or the next one begins
        end[tokens] += 1
        tokens = tokens[end[tokens] < text_end[tokens]]
    return end

"""Where tokens stand in their text: the characters that an answer is read off.

The tokenizers library gives each token the characters that it was made of. Two kinds are missing there or too many:

- What the normalizer removed (a combining mark under `strip_accents`; a zero-width or other format character) is in no
  token at a word's end, and an answer read off its tokens would lose it: "cafe" for "café" written as five characters.
  It belongs to the token that it follows without a space between, as a mark belongs to its letter. Where it follows a
  space or begins the text it belongs to none: a mark of direction, say, in front of a word.
- A byte-level token holds the space before its word.
"""

from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np

_SPACE = ord(" ")


def character_ranges(encodings: Sequence[Any], texts: Sequence[str], normalizer: Any | None) -> np.ndarray:
    """Returns each token's characters, [begin, end) in its text: (total tokens, 2) int32, text after text.

    Args:
        encodings: the tokenizers library's results.
        texts: what they are the tokens of.
        normalizer: that library's, which the texts went through; None where there is none.
    """
    lengths = np.fromiter(map(len, encodings), np.int64, len(encodings))
    bounds = chain.from_iterable(chain.from_iterable(encoding.offsets for encoding in encodings))
    offsets = np.fromiter(bounds, np.int32, 2 * lengths.sum()).reshape(-1, 2)
    characters = np.frombuffer("".join([*texts, "|"]).encode("utf-32-le"), np.uint32)
    sizes = np.fromiter(map(len, texts), np.int64, len(texts))
    text_end = np.repeat(np.cumsum(sizes), lengths)
    text_begin = text_end - np.repeat(sizes, lengths)
    begin, end = (offsets + text_begin[:, None]).T
    begin = _past_spaces(begin, end, characters)
    if normalizer is not None:
        end = _past_removed(begin, end, text_end, characters, normalizer)
    return np.stack([begin - text_begin, end - text_begin], axis=1).astype(np.int32)


def _past_spaces(begin: np.ndarray, end: np.ndarray, characters: np.ndarray) -> np.ndarray:
    """Moves each token's begin past the spaces there; a lone space becomes empty.

    The tokenizers library trims them where `trim_offsets` says so, except from a text's first token under
    `add_prefix_space`.
    """
    is_space = characters == _SPACE
    begin = begin.copy()
    while (more := (begin < end) & is_space[begin]).any():
        begin += more
    return begin


def _past_removed(
    begin: np.ndarray, end: np.ndarray, text_end: np.ndarray, characters: np.ndarray, normalizer: Any
) -> np.ndarray:
    """Moves each token's end past the characters there that the normalizer removed."""
    end = end.copy()
    next_begin = np.append(begin[1:], -1)
    # Few remain: most tokens end where a space or the next one is.
    tokens = np.flatnonzero((end < text_end) & (end != next_begin) & (characters[end] != _SPACE))
    while len(tokens):
        distinct, at = np.unique(characters[end[tokens]], return_inverse=True)
        is_removed = np.array([normalizer.normalize_str(chr(code)) == "" for code in distinct.tolist()])
        tokens = tokens[is_removed[at]]
        end[tokens] += 1
        tokens = tokens[end[tokens] < text_end[tokens]]
    return end

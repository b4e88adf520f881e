"""What a masked language model would put in a word's place: one masked word a sequence, many sequences a batch.

Batches hold words of many paragraphs, and are full but for the last one of a length. A word's sequence is always
padded to the same length, in a batch of the same shape on its device: neither the number of devices nor what else is
computed changes its candidates.
"""

import functools
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from tinybert_jax.model import BertConfig, BertForMaskedLM, freeze, masked_logits
from tinybert_jax.model.bert import Params
from tinybert_jax.model.ops.platform import Platform
from tinybert_jax.sharding import local_mesh, replicate, shard_batch

_TOKENS = 4096  # in a batch, on each device
_LENGTHS = (32, 64, 96, 128, 160, 192, 256, 320, 384, 512)


class MaskedWord(NamedTuple):
    """A word of one piece, to be masked: `pieces[position]`, ids of the whole text."""

    pieces: np.ndarray  # (P,) int32
    position: int


class SpecialTokens(NamedTuple):
    """Ids of the tokens around and in place of the text's."""

    cls: int
    sep: int
    mask: int


class _Batch(NamedTuple):
    input_ids: np.ndarray  # (B, T) int32
    token_type_ids: np.ndarray  # (B, T) int32
    attention_mask: np.ndarray  # (B, T) bool
    position: np.ndarray  # (B,) int32: where the masked word is
    word: np.ndarray  # (B,) int32: what it was


class WordPredictor:
    """A masked language model on the devices, asked for the likeliest words."""

    def __init__(
        self,
        config: BertConfig,
        params: Params,
        special: SpecialTokens,
        replaceable: np.ndarray,
        *,
        count: int,
        context: int,
        pair: bool,
    ) -> None:
        """Moves the parameters to the devices.

        Args:
            config: the model's; its `dtype` is what it computes in.
            params: the model's, `{"bert": …, "cls": …}`.
            special: its tokenizer's special tokens.
            replaceable: (V,) bool, the vocabulary entries that may be predicted.
            count: K, words to predict.
            context: the longest sequence, in tokens.
            pair: put the text, unmasked, behind the masked one.
        """
        self._special, self._count, self._pair = special, count, pair
        self._context = min(context, config.max_positions)
        self._mesh = local_mesh()
        self._model = BertForMaskedLM(config, Platform.of(self._mesh))
        self._params = replicate(freeze(params, config.dtype), self._mesh)
        missing = config.vocab_size - len(replaceable)
        self._replaceable = replicate(np.pad(replaceable, (0, missing)), self._mesh)

    def predict(self, words: Sequence[MaskedWord]) -> Iterator[tuple[int, list[int]]]:
        """Yields, in any order, the index of each word and its likeliest replacements' ids, best first.

        There are `count` of them, or fewer where fewer entries are replaceable; never the word itself.
        """
        lengths = np.array([self._length(word) for word in words])
        pending: deque[tuple[np.ndarray, jax.Array]] = deque()
        for indices, length, rows in _plan(lengths, self._buckets(), self._mesh.size):
            batch = self._collate([words[i] for i in indices], length, rows)
            best = _best(self._model, self._params, self._replaceable, shard_batch(batch, self._mesh), self._count)
            pending.append((indices, best))
            if len(pending) > 2:  # the next batch is prepared while the device computes
                yield from _read(*pending.popleft())
        for batch in pending:
            yield from _read(*batch)

    def _buckets(self) -> tuple[int, ...]:
        return (*(length for length in _LENGTHS if length < self._context), self._context)

    @property
    def _window(self) -> int:
        """Pieces of the text in a sequence, at most."""
        return (self._context - 3) // 2 if self._pair else self._context - 2

    def _length(self, word: MaskedWord) -> int:
        pieces = min(len(word.pieces), self._window)
        return 2 * pieces + 3 if self._pair else pieces + 2

    def _collate(self, words: Sequence[MaskedWord], length: int, rows: int) -> _Batch:
        """Pads the words' sequences to (rows, length); filler rows have no real token."""
        ids, types = np.zeros((rows, length), np.int32), np.zeros((rows, length), np.int32)
        real, position, word_ids = np.zeros((rows, length), bool), np.zeros(rows, np.int32), np.zeros(rows, np.int32)
        cls, sep, mask = self._special
        for row, word in enumerate(words):
            begin = np.clip(word.position - self._window // 2, 0, max(len(word.pieces) - self._window, 0))
            text = word.pieces[begin : begin + self._window]
            tokens = [cls, *text, sep, *text, sep] if self._pair else [cls, *text, sep]
            ids[row, : len(tokens)], real[row, : len(tokens)] = tokens, True
            types[row, len(text) + 2 : len(tokens)] = 1
            position[row], word_ids[row] = 1 + word.position - begin, word.pieces[word.position]
            ids[row, position[row]] = mask
        return _Batch(ids, types, real, position, word_ids)


@functools.partial(jax.jit, static_argnums=(0, 4))
def _best(model: BertForMaskedLM, params: Params, replaceable: jax.Array, batch: Any, count: int) -> jax.Array:
    """Ids of the likeliest words, (B, count); -1 where there are no more."""
    logits = masked_logits(model, params, batch, batch.position[:, None])[:, 0]
    itself = jnp.arange(logits.shape[1]) == batch.word[:, None]
    scores, ids = jax.lax.top_k(jnp.where(replaceable & ~itself, logits, -jnp.inf), count)
    return jnp.where(jnp.isfinite(scores), ids, -1)


def _plan(lengths: np.ndarray, buckets: Sequence[int], devices: int) -> Iterator[tuple[np.ndarray, int, int]]:
    """Yields batches as (indices, length, rows); of one length, each device's share has one shape."""
    bucket = np.searchsorted(buckets, lengths)
    for number, length in enumerate(buckets):
        rows = devices * max(1, _TOKENS // length)
        indices = np.flatnonzero(bucket == number)
        for begin in range(0, len(indices), rows):
            yield indices[begin : begin + rows], length, rows


def _read(indices: np.ndarray, best: jax.Array) -> Iterator[tuple[int, list[int]]]:
    for index, ids in zip(indices.tolist(), np.asarray(best).tolist(), strict=False):  # filler rows end the batch
        yield index, [id_ for id_ in ids if id_ >= 0]

"""Batches as short as their windows: length buckets, and epochs that need no iterator state to resume."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from tinybert_jax.data.windows import Windows
from tinybert_jax.errors import UserError, check


class Batch(NamedTuple):
    """B windows padded to T tokens; numpy arrays.

    Padding holds 0, in whose place a model reads its own padding token. A filler row, which completes a partial
    batch, has no real token: its `attention_mask` is all False, and it must weigh nothing in a loss.
    """

    input_ids: np.ndarray  # (B, T) int32
    token_type_ids: np.ndarray  # (B, T) int32: 0 question, 1 context
    attention_mask: np.ndarray  # (B, T) bool: real tokens
    start: np.ndarray  # (B,) int32, label position; 0 ([CLS]) is no answer
    end: np.ndarray  # (B,) int32, inclusive
    teacher_logits: np.ndarray | None = None  # (B, T, 2) float32, start and end; 0 at padding


def collate(
    windows: Windows,
    indices: np.ndarray,
    length: int,
    batch_size: int,
    teacher_logits: Sequence[np.ndarray] = (),
) -> Batch:
    """Pads the windows `indices` to `length` tokens and adds filler rows up to `batch_size`.

    Args:
        windows: where the windows are.
        indices: which ones, at most `batch_size`.
        length: T, in tokens.
        batch_size: B.
        teacher_logits: for each teacher (total tokens, 2), aligned with `windows.tokens`; the batch gets their mean.

    Raises:
        ValueError: more windows than rows, or a window longer than `length`.
    """
    begins = windows.row_splits[indices]
    lengths = windows.row_splits[indices + 1] - begins
    longest = np.max(lengths, initial=0)
    if len(indices) > batch_size or longest > length:
        raise ValueError(
            f"{len(indices)} windows of up to {longest} tokens do not fit a batch of ({batch_size}, {length})"
        )
    position = np.arange(length)
    real, source = position < lengths[:, None], begins[:, None] + position
    filler = ((0, batch_size - len(indices)), (0, 0))
    input_ids = np.where(real, windows.tokens[np.where(real, source, 0)], 0)
    in_context = real & (position >= windows.context_begin[indices][:, None])
    return Batch(
        input_ids=np.pad(input_ids, filler).astype(np.int32),
        token_type_ids=np.pad(in_context, filler).astype(np.int32),
        attention_mask=np.pad(real, filler),
        start=np.pad(windows.start[indices], filler[0]),
        end=np.pad(windows.end[indices], filler[0]),
        teacher_logits=_mean_logits(teacher_logits, source, real, batch_size),
    )


def _mean_logits(
    teachers: Sequence[np.ndarray], source: np.ndarray, real: np.ndarray, batch_size: int
) -> np.ndarray | None:
    """Returns the teachers' mean logits at the tokens `source`, where they are `real`; None without a teacher."""
    if not teachers:
        return None
    total = np.zeros((batch_size, real.shape[1], 2), np.float32)
    for logits in teachers:
        total[: len(real)][real] += logits[source[real]]
    return total / np.float32(len(teachers))


def default_buckets(max_seq_len: int) -> tuple[int, ...]:
    """Returns the batch lengths, increasing, to use for windows of up to `max_seq_len` tokens."""
    return (*(length for length in (128, 192, 256, 384) if length < max_seq_len), max_seq_len)


class Epochs:
    """Training batches as a pure function of (windows, batch_size, buckets, seed, step).

    Every epoch visits each window once, in an order of its own. Its batches fill bucket by bucket: windows
    that do not fill a batch join the next bucket's, so that only one batch of an epoch holds filler rows.
    Then the batches are shuffled.
    """

    def __init__(
        self,
        windows: Windows,
        batch_size: int,
        buckets: Sequence[int],
        seed: int,
        teacher_logits: Sequence[np.ndarray] = (),
    ) -> None:
        """Checks the arguments.

        Args:
            windows: W of them, at least one.
            batch_size: rows of every batch.
            buckets: the batch lengths, increasing, in tokens.
            seed: not negative.
            teacher_logits: for each teacher the logits of all tokens, (total tokens, 2), float16 or float32, aligned
                with `windows.tokens`; they may be memory-mapped. The batches hold their mean.

        Raises:
            UserError: no windows, a window longer than the last bucket, or an impossible setting.
            ValueError: logits of other windows.
        """
        if not len(windows):
            raise UserError("no windows to train on: the data holds no question")
        check("seed", seed, seed >= 0, "at least 0")
        for logits in teacher_logits:
            if logits.shape != (len(windows.tokens), 2):
                raise ValueError(f"teacher logits must be {(len(windows.tokens), 2)}, got {logits.shape}")
        self._windows = windows
        self._batch_size = batch_size
        self._buckets = np.asarray(buckets)
        self._bucket = _assign_buckets(windows, batch_size, self._buckets)
        self._seed = seed
        self._teacher_logits = tuple(teacher_logits)
        self._epoch: int = -1
        self._order: tuple[np.ndarray, np.ndarray] | None = None

    @property
    def steps_per_epoch(self) -> int:
        """ceil(W / batch_size), the same every epoch."""
        return -(-len(self._windows) // self._batch_size)

    def batch_at(self, step: int, rows: slice | None = None) -> Batch:
        """Returns the batch of a step, counted from 0 over all epochs.

        Args:
            step: which one.
            rows: those of its rows to make; all when None. Beyond the batch's size there are filler rows.
        """
        indices, rows = self.windows_at(step), rows or slice(0, self._batch_size)
        length, count = self._length_of(indices), rows.stop - rows.start
        return collate(self._windows, indices[rows], length, count, self._teacher_logits)

    def length_at(self, step: int) -> int:
        """The length of a step's batch, in tokens."""
        return self._length_of(self.windows_at(step))

    def windows_at(self, step: int) -> np.ndarray:
        """Which windows are in a step's batch."""
        epoch, step_in_epoch = divmod(step, self.steps_per_epoch)
        order, batch_order = self._epoch_order(epoch)
        begin = batch_order[step_in_epoch] * self._batch_size
        return order[begin : begin + self._batch_size]

    def _length_of(self, indices: np.ndarray) -> int:
        return int(self._buckets[self._bucket[indices[-1]]])

    def _epoch_order(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns the epoch's windows, shuffled within rising buckets, and the order of its batches."""
        if self._order is None or epoch != self._epoch:
            rng = np.random.default_rng((self._seed, epoch))
            order = rng.permutation(len(self._windows))
            order = order[np.argsort(self._bucket[order], kind="stable")]
            self._epoch, self._order = epoch, (order, rng.permutation(self.steps_per_epoch))
        return self._order


def eval_batches(windows: Windows, batch_size: int, buckets: Sequence[int]) -> Iterator[tuple[np.ndarray, Batch]]:
    """Yields every window once, in length order, as (indices of the batch's windows, batch).

    The last batch may hold filler rows, which follow its windows: row r is the window `indices[r]`.

    Raises:
        UserError: a window longer than the last bucket, or an impossible setting.
    """
    bucket = _assign_buckets(windows, batch_size, np.asarray(buckets))
    order = np.argsort(windows.lengths, kind="stable")
    for begin in range(0, len(order), batch_size):
        indices = order[begin : begin + batch_size]
        yield indices, collate(windows, indices, buckets[int(bucket[indices[-1]])], batch_size)


def _assign_buckets(windows: Windows, batch_size: int, buckets: np.ndarray) -> np.ndarray:
    """Returns for each window (W,) the index of the shortest bucket that holds it."""
    check("batch_size", batch_size, batch_size >= 1, "at least 1")
    rising = len(buckets) > 0 and bool((np.diff(buckets, prepend=0) > 0).all())
    check("buckets", buckets.tolist(), rising, "positive, increasing lengths")
    longest = np.max(windows.lengths, initial=0)
    if longest > buckets[-1]:
        raise UserError(
            f"the longest window has {longest} tokens, the last bucket holds {buckets[-1]}: "
            "end the buckets with max_seq_len"
        )
    return np.searchsorted(buckets, windows.lengths).astype(np.int32)

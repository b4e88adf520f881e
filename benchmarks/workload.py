"""Windows, of a SQuAD file or at random, how they fall into batches, and a few of those batches."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from benchmarks.common import Shape
from tinybert_jax.data import Batch, WindowConfig, Windows, load_tokenizer, load_windows, read_squad
from tinybert_jax.data.batches import collate
from tinybert_jax.errors import UserError

# Lengths of SQuAD 2.0's windows of up to 384 tokens, [CLS] and [SEP]s included: (share of the windows, tokens).
QUANTILES = ((0.0, 20), (0.05, 75), (0.25, 119), (0.5, 150), (0.75, 190), (0.95, 280), (0.99, 360), (1.0, 384))
DISTINCT_BATCHES = 3  # of each length; steps rotate over them

Batches = dict[int, list[Batch]]  # by length


@dataclass(frozen=True)
class Source:
    """Where windows come from."""

    data: str | None = None  # SQuAD JSON; without it, random tokens as long as SQuAD's windows
    tokenizer: str | None = None  # folder of the tokenizer, needed with --data

    def __post_init__(self) -> None:
        if bool(self.data) != bool(self.tokenizer):
            raise UserError("--data and --tokenizer go together")

    def __str__(self) -> str:
        return self.data or "random tokens"

    def read(self, shape: Shape, count: int) -> Windows:
        """The file's windows, or `count` random ones.

        Raises:
            UserError: the file holds no question, or a token that is not in the vocabulary.
        """
        if not self.data or not self.tokenizer:
            return random_windows(shape, count)
        config = WindowConfig(max_seq_len=shape.length)
        windows = load_windows(read_squad(self.data), load_tokenizer(self.tokenizer), config, None)
        if not len(windows):
            raise UserError(f"{self.data} must hold a question, got none")
        if windows.tokens.max() >= shape.vocab:
            raise UserError(f"vocab must be over the tokenizer's largest id {windows.tokens.max()}, got {shape.vocab}")
        return windows


RANDOM = Source()


def random_windows(shape: Shape, count: int) -> Windows:
    """Windows of random tokens, as long as SQuAD's are (scaled to the full length)."""
    rng = np.random.default_rng(0)
    shares, tokens = zip(*QUANTILES, strict=True)
    scaled = np.interp(rng.random(count), shares, tokens) * shape.length / tokens[-1]
    lengths = np.clip(scaled.round().astype(int), min(4, shape.length), shape.length)
    row_splits = np.concatenate([[0], np.cumsum(lengths)])
    total = row_splits[-1]
    start, end = np.sort(rng.integers(0, lengths, (2, count)), axis=0).astype(np.int32)
    return Windows(
        tokens=rng.integers(min(1000, shape.vocab // 2), min(30000, shape.vocab), total).astype(np.int32),
        offsets=np.full((total, 2), -1, np.int32),
        row_splits=row_splits,
        context_begin=np.minimum(14, lengths // 2).astype(np.int32),
        example=np.arange(count, dtype=np.int32),
        start=start,
        end=end,
    )


def steps_at(windows: Windows, buckets: tuple[int, ...], batch: int, times: int = 1) -> dict[int, int]:
    """Batches of each length in a pass over `times` as many windows.

    As `data.Epochs` fills them: windows that do not fill a batch join the next bucket's, and the last batch is
    completed with filler rows.
    """
    seen = times * np.cumsum(np.bincount(np.searchsorted(buckets, windows.lengths)))
    full = np.append(seen[:-1] // batch, -(-seen[-1] // batch))
    steps = dict(zip(buckets, np.diff(full, prepend=0).tolist(), strict=False))  # longer buckets may hold none
    return {length: count for length, count in steps.items() if count}


def pick_batches(windows: Windows, batch: int, buckets: tuple[int, ...]) -> Batches:
    """A few full batches of each bucket's windows, with random logits for the teacher's."""
    rng = np.random.default_rng(0)
    bucket, picked = np.searchsorted(buckets, windows.lengths), {}
    for index in np.unique(bucket):
        members, length = np.flatnonzero(bucket == index), buckets[index]
        chosen = rng.choice(members, (DISTINCT_BATCHES, batch))  # there may be fewer than a batch
        logits = rng.standard_normal((DISTINCT_BATCHES, batch, length, 2), np.float32)
        some = [collate(windows, one, length, batch) for one in chosen]
        picked[length] = [one._replace(teacher_logits=x) for one, x in zip(some, logits, strict=True)]
    return picked


class Workload(NamedTuple):
    """An epoch, as far as timing it needs."""

    batches: Batches  # a few
    shares: dict[int, float]  # of the epoch's batches, by their length
    mean_tokens: float  # that are real, a window

    def mean(self, by_length: dict[int, float]) -> float:
        """The epoch's mean over batches of what depends on the length alone."""
        return sum(share * by_length[length] for length, share in self.shares.items())


def make_workload(windows: Windows, batch: int, buckets: tuple[int, ...]) -> Workload:
    """Batches an epoch of the windows."""
    steps, picked = steps_at(windows, buckets, batch), pick_batches(windows, batch, buckets)
    shares = {length: count / sum(steps.values()) for length, count in steps.items()}
    return Workload({length: picked[length] for length in steps}, shares, float(windows.lengths.mean()))

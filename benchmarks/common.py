"""What both sides of the step benchmark share: sizes, what a worker is told, the windows, and the count of FLOPs."""

import argparse
import dataclasses
from collections import Counter
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np

from tinybert_jax.data import Batch, Epochs, WindowConfig, Windows, default_buckets, load_tokenizer, load_windows
from tinybert_jax.data import read_squad as read_examples
from tinybert_jax.errors import UserError

Device = Literal["cpu", "gpu"]

# Lengths of SQuAD 2.0's windows of up to 384 tokens, [CLS] and [SEP]s included: (share of the windows, tokens).
QUANTILES = ((0.0, 20), (0.05, 75), (0.25, 119), (0.5, 150), (0.75, 190), (0.95, 280), (0.99, 360), (1.0, 384))
DISTINCT_BATCHES = 3  # of each length; steps rotate over them
DROPOUT = 0.1


@dataclass(frozen=True)
class Shape:
    """Sizes of the networks and of a batch; the defaults are BERT-base into TinyBERT6 at the seed recipe's batch."""

    layers_teacher: int = 12
    layers_student: int = 6
    hidden: int = 768
    heads: int = 12
    intermediate: int = 3072
    batch: int = 26
    length: int = 384
    vocab: int = 30522

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            if getattr(self, field.name) < 1:
                raise UserError(f"{field.name} must be at least 1, got {getattr(self, field.name)}")
        for parts, whole in (("heads", "hidden"), ("layers_student", "layers_teacher")):
            if getattr(self, whole) % getattr(self, parts):
                raise UserError(f"{parts} must divide {whole}, got {getattr(self, parts)} and {getattr(self, whole)}")

    @staticmethod
    def add_flags(parser: argparse.ArgumentParser) -> None:
        """A flag for each size."""
        for field in dataclasses.fields(Shape):
            parser.add_argument(f"--{field.name.replace('_', '-')}", type=int, default=field.default)

    @classmethod
    def of(cls, args: argparse.Namespace) -> "Shape":
        """As the flags say."""
        return cls(**{field.name: getattr(args, field.name) for field in dataclasses.fields(cls)})

    def mapped_layer(self, m: int) -> int:
        """The teacher's layer for layer m of the student, both from 1; 0 is the embeddings' output."""
        return m * self.layers_teacher // self.layers_student


@dataclass(frozen=True)
class Job:
    """Which step is measured.

    Attributes:
        stage: 1 (intermediate layers) or 2 (predictions).
        cached: the teacher's logits come with the batch; else the step runs the teacher.
    """

    stage: int
    cached: bool = False

    @property
    def title(self) -> str:
        """A heading."""
        teacher = "teacher's logits cached" if self.cached else "teacher run in the step"
        return f"Stage {self.stage} ({'predictions' if self.stage == 2 else 'intermediate layers'}), {teacher}"


class System(NamedTuple):
    """One contestant.

    Attributes:
        label: what a table calls it.
        framework: "jax" or "torch".
        bucketed: its batches are as short as their windows; else all are padded to the full length.
    """

    label: str
    framework: Literal["jax", "torch"]
    bucketed: bool


SYSTEMS = {
    "A": System("A: PyTorch as haystack ran it, float32", "torch", False),
    "B": System("B: A under autocast", "torch", False),
    "C": System("C: best-effort PyTorch", "torch", True),
    "ours-haystack-float32": System("ours, haystack's meaning, float32", "jax", False),
    "ours-haystack-bfloat16": System("ours, haystack's meaning, bfloat16", "jax", False),
    "ours-recommended-float32": System("ours, recommended, float32", "jax", True),
    "ours-recommended-bfloat16": System("ours, recommended, bfloat16", "jax", True),
}


class Runner(Protocol):
    """A system, set up: what a worker drives.

    Attributes:
        facts: what there is to say of it besides times, by name.
    """

    facts: dict[str, Any]

    def prepare(self, batch: Batch) -> Any:
        """What the system's loader would hand to its loop; not timed."""
        ...

    def step(self, batch: Any) -> None:
        """One update; it may return before the update is done."""
        ...

    def finish(self) -> float:
        """Waits for all steps and returns the last one's loss."""
        ...

    def device_memory(self) -> int | None:
        """The accelerator's peak in bytes; None on a CPU."""
        ...


def step_flops(shape: Shape, job: Job, length: int) -> float:
    """FLOPs of a step's matrix products, for a batch padded to `length` = T tokens.

    A layer's forward is B·(2·T·(4·D² + 2·D·F) + 4·T²·D): four D × D projections and two D × F ones, then Q·Kᵀ and
    P·V. The teacher runs forward, L_t layers, unless its logits are cached; the student forward and backward, which
    is three forwards, L_s layers. Look-ups, the losses, the span head and the optimiser are not counted.
    """
    d, f = shape.hidden, shape.intermediate
    forward = shape.batch * (2 * length * (4 * d**2 + 2 * d * f) + 4 * length**2 * d)
    return forward * (3 * shape.layers_student + (0 if job.cached else shape.layers_teacher))


class Workload(NamedTuple):
    """An epoch, as far as timing it needs.

    Attributes:
        batches: some of the epoch's batches, by their length in tokens.
        shares: the share of the epoch's batches that have each length.
        mean_tokens: real tokens in a window.
    """

    batches: dict[int, list[Batch]]
    shares: dict[int, float]
    mean_tokens: float

    def mean(self, by_length: dict[int, float]) -> float:
        """The epoch's mean over batches of what depends on the length alone."""
        return sum(share * by_length[length] for length, share in self.shares.items())


def make_workload(windows: Windows, shape: Shape, bucketed: bool) -> Workload:
    """Batches an epoch of the windows, padded to the full length or in length buckets."""
    epochs = Epochs(windows, shape.batch, default_buckets(shape.length) if bucketed else (shape.length,), seed=0)
    rng = np.random.default_rng(0)
    batches: dict[int, list[Batch]] = {}
    counts: Counter[int] = Counter()
    for step in range(epochs.steps_per_epoch):
        batch = epochs.batch_at(step)
        counts[batch.input_ids.shape[1]] += 1
        kept = batches.setdefault(batch.input_ids.shape[1], [])
        if len(kept) < DISTINCT_BATCHES:
            logits = rng.normal(size=(*batch.input_ids.shape, 2)).astype(np.float32)
            kept.append(batch._replace(teacher_logits=logits))
    shares = {length: counts[length] / epochs.steps_per_epoch for length in sorted(counts)}
    return Workload(batches, shares, float(windows.lengths.mean()))


def squad_windows(data: str, tokenizer: str, shape: Shape) -> Windows:
    """The windows of a SQuAD file, but for the last ones, which do not fill a batch."""
    config = WindowConfig(max_seq_len=shape.length)
    windows = load_windows(read_examples(data), load_tokenizer(tokenizer), config, None)
    if len(windows) < shape.batch:
        raise UserError(f"{data} must hold at least one batch of {shape.batch} windows, got {len(windows)}")
    if windows.tokens.max() >= shape.vocab:
        raise UserError(f"vocab must be over the tokenizer's largest id {windows.tokens.max()}, got {shape.vocab}")
    return windows.slice(0, len(windows) // shape.batch * shape.batch)


def random_windows(shape: Shape, least: int = 4096, seed: int = 0) -> Windows:
    """At least `least` windows of random tokens, as long as SQuAD's are (scaled to the full length)."""
    rng = np.random.default_rng(seed)
    count = -(-least // shape.batch) * shape.batch
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

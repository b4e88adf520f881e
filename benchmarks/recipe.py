"""How long the published recipe takes from end to end, projected from steps measured at each length its windows have.

    python -m benchmarks.recipe --data train.json.gz --tokenizer FOLDER [--dtype bfloat16]

By the recommended preset, stage 1 passes `epochs` times over the windows and `copies` augmented copies of them, with
the teacher in the step. Stage 2 passes as often over the windows, with the teacher's logits from a cache that its
forwards fill first. Every batch is as long as the shortest bucket that holds its windows; `--buckets 384` pads them
all. Measured: the median time of a step of each kind at each length, what the first ones took beyond that, to compile,
and the reading and tokenising of the file, which every copy repeats, and the originals in either stage. Counted: how
many such steps there are. The rest is multiplication. Without --data, windows are random tokens as long as SQuAD's are.

Left out: drawing the augmented copies (benchmarks.augment), checkpoints, evaluation, and the making of batches, which
train.py does while the device works at the one before.
"""

from dataclasses import dataclass, replace
from statistics import median
from typing import Any, NamedTuple

import jax
import numpy as np

from benchmarks.common import BASE, Shape, Stage, Stopwatch, command, say, seconds_of, spread, table
from benchmarks.ours import Ours, networks, random_params
from benchmarks.workload import RANDOM, Batches, Source, pick_batches, steps_at
from tinybert_jax.data import Batch, Windows
from tinybert_jax.errors import check, check_least
from tinybert_jax.model import forward
from tinybert_jax.model.config import Dtype
from tinybert_jax.sharding import data_mesh, replicate, shard_batch

SQUAD_WINDOWS = 131_000  # about as many as SQuAD 2.0's training set has, at the default length and overlap
FORWARD_BATCH = 32  # windows a forward of the teacher, for its logits


@dataclass(frozen=True)
class Args:
    """The command line."""

    shape: Shape = BASE  # but for the length, which is the longest bucket's
    source: Source = RANDOM
    buckets: tuple[int, ...] = (128, 192, 256, 384)  # lengths of batches
    copies: int = 20  # augmented ones of every window, in stage 1
    epochs: int = 5  # of either stage
    dtype: Dtype = "bfloat16"
    rounds: int = 3  # times that every step is measured
    steps: int = 3  # steps of each kind and length in a round

    def __post_init__(self) -> None:
        check_least(self, copies=1, epochs=1, rounds=1, steps=1)
        increasing = list(self.buckets) == sorted(set(self.buckets)) and min(self.buckets, default=0) > 0
        check("buckets", list(self.buckets), increasing, "positive, increasing lengths")
        object.__setattr__(self, "shape", replace(self.shape, length=self.buckets[-1]))


class Part(NamedTuple):
    """Steps of one kind and length, and what they take."""

    name: str  # the stage, with what the steps do
    length: int | None  # tokens of a row; None where it does not matter
    steps: int
    seconds: list[float]  # of one step, as measured, round by round

    @property
    def total(self) -> float:
        """Seconds of them all."""
        return self.steps * median(self.seconds)


class Teacher:
    """The forwards that fill the cache, as `predict_blocks` runs them: the logits of each batch are fetched at once."""

    def __init__(self, shape: Shape, dtype: Dtype):
        network, _ = networks(shape, dtype)
        self.mesh = data_mesh()
        self.params = replicate(random_params(network, 0, dtype), self.mesh)
        self.logits = jax.jit(lambda params, batch: forward(network, params, batch).logits)

    def prepare(self, batch: Batch) -> Batch:
        return batch._replace(teacher_logits=None)

    def step(self, batch: Batch) -> None:
        np.asarray(self.logits(self.params, shard_batch(batch, self.mesh)))

    def finish(self) -> float:
        return 0.0


def measure(name: str, runner: Any, batches: Batches, steps: dict[int, int], args: Args) -> list[Part]:
    """The parts of so many steps of each length; and what the first steps, which compile, took beyond the others."""
    say(name)
    timed = Stopwatch(runner, {length: batches[length] for length in steps})
    first = sum(map(timed, steps))
    for length in steps:
        timed(length)  # the second is slow too where memory is new
    rounds = [{length: timed(length, args.steps) for length in steps} for _ in range(args.rounds)]
    parts = [Part(name, length, count, [one[length] for one in rounds]) for length, count in steps.items()]
    compiling = first - sum(median(part.seconds) for part in parts)
    return [*parts, Part(f"{name}, compiling", None, 1, [max(0.0, compiling)])]


def project(args: Args, windows: Windows) -> list[Part]:
    """Measures every kind of step, and counts them."""
    shape, buckets = args.shape, args.buckets

    def train(name: str, stage: Stage, times: int) -> list[Part]:
        steps = {t: args.epochs * count for t, count in steps_at(windows, buckets, shape.batch, times).items()}
        batches = pick_batches(windows, shape.batch, buckets)
        return measure(name, Ours(shape, stage, "recommended", args.dtype), batches, steps, args)

    intermediate = train("1: intermediate layers", 1, 1 + args.copies)
    forwards, batches = steps_at(windows, buckets, FORWARD_BATCH), pick_batches(windows, FORWARD_BATCH, buckets)
    logits = measure("2: teacher's logits", Teacher(shape, args.dtype), batches, forwards, args)
    return [*intermediate, *logits, *train("2: predictions", 2, 1)]


def part_table(parts: list[Part]) -> str:
    """Markdown: where the time goes."""
    total = sum(part.total for part in parts)

    def row(name: str, some: list[Part], length: int | None, seconds: str) -> dict[str, Any]:
        own = sum(part.total for part in some)
        line = {"part": name, "length": length or "–", "steps": sum(part.steps for part in some), "s a step": seconds}
        return line | {"hours": f"{own / 3600:.3g}", "share": f"{own / total:.1%}"}

    rows = [row(part.name, [part], part.length, spread(part.seconds, ".4g")) for part in parts]
    return table([*rows, row("**all**", parts, None, "–")])


def main(args: Args) -> list[Part]:
    """Measures, projects and prints; returns the parts."""
    read: list[Windows] = []
    reading = seconds_of(lambda: read.append(args.source.read(args.shape, SQUAD_WINDOWS)))
    (windows,) = read
    parts = [Part("0: tokenising", None, 2 + args.copies, [reading])] if args.source.data else []
    parts += project(args, windows)
    print(f"- Sizes: {args.shape}. {args.dtype}; {args.copies} copies, {args.epochs} epochs.")
    print(f"- Windows: {args.source}, {len(windows)} of {windows.lengths.mean():.1f} tokens in the mean.")
    print(f"- Device: {jax.devices()[0].device_kind}.\n\n{part_table(parts)}")
    return parts


if __name__ == "__main__":
    command(main, __doc__)

"""How long the published recipe takes from end to end, projected from steps measured at each length its windows have.

    python -m benchmarks.recipe --data train.json.gz --tokenizer FOLDER [--dtype bfloat16] [--output FILE]

Stage 1 passes `epochs` times over `copies` augmented copies of the windows, and over the windows themselves unless the
preset's augmentation leaves them out (haystack's does), with the teacher in the step. Stage 2 passes as often over the
windows alone, with the teacher's logits from a cache that its forwards fill first. Every batch is as long as the
shortest bucket that holds its windows. Measured: the median time of a step of each kind at each length, and the
reading and tokenising of the file, which the augmented copies repeat. Counted: how many such steps there are. The
rest is multiplication. Without --data, windows are random tokens as long as SQuAD's are.

Left out: drawing the augmented copies (benchmarks.augment), checkpoints, evaluation, and the making of batches, which
train.py does while the device works at the one before.

`--preset haystack --buckets 384` is haystack's own meaning: padding counts in its means, so that every batch is padded
to 384, and stage 2 runs the teacher, whose logits at padding no cache holds.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import jax
import numpy as np

from benchmarks import machine
from benchmarks.common import (
    BASE,
    DROPOUT,
    Job,
    PresetName,
    Shape,
    Sizes,
    Stopwatch,
    command,
    save,
    seconds_of,
    spread,
    step_flops,
    table,
)
from benchmarks.ours import Ours, networks, objective_of, products, random_params
from benchmarks.windows import RANDOM, AnySource, Batches, Histogram, count_windows, pick_batches, steps_at
from tinybert_jax.data import Batch, Windows
from tinybert_jax.errors import check, check_least
from tinybert_jax.model import forward
from tinybert_jax.model.config import Dtype
from tinybert_jax.run.presets import PRESETS
from tinybert_jax.sharding import data_mesh, replicate, shard_batch

SQUAD_WINDOWS = 131_000  # about as many as SQuAD 2.0's training set has, at the default length and overlap
FORWARD_BATCH = 32  # windows a forward of the teacher, for its logits


@dataclass(frozen=True)
class Args:
    """The command line."""

    shape: Sizes = BASE  # but for the length, which is the longest bucket's
    source: AnySource = RANDOM
    buckets: tuple[int, ...] = (128, 192, 256, 384)  # lengths of batches
    copies: int = 20  # augmented ones of every window, in stage 1
    epochs: int = 5  # of either stage
    preset: PresetName = "recommended"
    dtype: Dtype = "bfloat16"
    rounds: int = 3  # times that every step is measured
    steps: int = 3  # steps of each kind and length in a round
    matmul: int | None = None  # size of the product that measures the peak; 2048, on a GPU 8192
    output: Path | None = None  # write every figure as JSON

    def __post_init__(self) -> None:
        check_least(self, copies=0, epochs=1, rounds=1, steps=1, matmul=1)
        increasing = list(self.buckets) == sorted(set(self.buckets)) and min(self.buckets, default=0) > 0
        check("buckets", list(self.buckets), increasing, "positive, increasing lengths")
        object.__setattr__(self, "shape", replace(self.shape, length=self.buckets[-1]))


class Part(NamedTuple):
    """Steps of one kind and length, and what they take."""

    stage: str  # of the recipe, with what the steps do
    length: int | None  # tokens of a row; None where it does not matter
    steps: int
    seconds: list[float]  # of one step, as measured, round by round
    flops: float = 0.0  # of one step's matrix products; 0 where there are none to speak of

    @property
    def total(self) -> float:
        """Seconds of them all."""
        return self.steps * median(self.seconds)


class Teacher:
    """The forwards that fill the cache, as `predict_blocks` runs them: the logits of each batch are fetched at once."""

    def __init__(self, shape: Shape, dtype: str):
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


def measure(runner: Any, batches: Batches, args: Args) -> tuple[dict[int, list[float]], float]:
    """Seconds a step for each length, round by round; and what the first steps, which compile, took beyond that."""
    timed = Stopwatch(runner, batches)
    first = sum(map(timed, batches))
    for length in batches:
        timed(length)  # the second is slow too where memory is new
    rounds = [{length: timed(length, args.steps) for length in batches} for _ in range(args.rounds)]
    seconds = {length: [one[length] for one in rounds] for length in batches}
    return seconds, max(0.0, first - sum(map(median, seconds.values())))


def times_augmented(args: Args) -> int:
    """How often stage 1's data holds a window: its copies, and itself unless the preset leaves originals out."""
    return args.copies + PRESETS[args.preset].augment.originals if args.copies else 0


def project(args: Args, windows: Windows, histogram: Histogram, batches: Batches) -> list[Part]:
    """Measures every kind of step, and counts them."""
    shape, parts = args.shape, []

    def add(stage: str, make: Callable[[], Any], some: Batches, steps: dict[int, int], flops: Any) -> None:
        print(f"stage {stage}", file=sys.stderr, flush=True)
        seconds, compiling = measure(make(), {length: some[length] for length in steps}, args)
        parts.extend(Part(stage, t, steps[t], seconds[t], flops(t)) for t in steps)
        parts.append(Part(f"{stage[0]}: compiling", None, 1, [compiling]))

    def train(stage: str, job: Job, times: int) -> None:
        steps = {t: args.epochs * count for t, count in steps_at(histogram, shape.batch, times).items()}
        add(stage, lambda: Ours(shape, job, args.preset, args.dtype), batches, steps, partial(step_flops, shape, job))

    def forward_flops(length: int) -> float:  # what a step saves where the teacher's logits are cached
        return step_flops(wide, Job(1), length) - step_flops(wide, Job(1, cached=True), length)

    train("1: intermediate layers", Job(1), times_augmented(args) or 1)
    cached, wide = objective_of(args.preset, Job(2), DROPOUT).reads_cache, replace(shape, batch=FORWARD_BATCH)
    if cached:
        some, forwards = pick_batches(windows, wide.batch, args.buckets), steps_at(histogram, wide.batch)
        add("2: teacher's logits", lambda: Teacher(wide, args.dtype), some, forwards, forward_flops)
    train("2: predictions", Job(2, cached), 1)
    return parts


def part_table(parts: list[Part], peak: float) -> str:
    """Markdown: where the time goes."""
    total, lines = sum(part.total for part in parts), []

    def add(name: str, some: list[Part], length: Any = "", seconds: str = "") -> None:
        own, flops = sum(part.total for part in some), sum(part.steps * part.flops for part in some)
        line = {"stage": name, "length": length, "steps": sum(part.steps for part in some if part.length)}
        line |= {"s a step": seconds, "hours": f"{own / 3600:.3g}", "share": f"{own / total:.1%}"}
        line["TFLOP/s"] = f"{flops / own / 1e12:.3g}" if flops else "–"
        lines.append(line | {"of the peak": f"{flops / own / peak:.1%}" if flops else "–"})

    for number in dict.fromkeys(part.stage[0] for part in parts):
        stage = [part for part in parts if part.stage[0] == number]
        for part in stage:
            add(part.stage, [part], part.length or "–", spread(part.seconds, ".4g"))
        add(f"**stage {number}**", stage)
    add("**all**", parts)
    return table(lines)


def padded_seconds(parts: list[Part], longest: int) -> float | None:
    """What all would take with every batch padded to the longest bucket; None where that was not measured."""
    at_longest = {part.stage: median(part.seconds) for part in parts if part.length == longest}
    if any(part.length and part.stage not in at_longest for part in parts):
        return None
    return sum(part.steps * at_longest[part.stage] if part.length else part.total for part in parts)


def main(args: Args) -> dict[str, Any]:
    """Measures, projects and prints; returns all figures."""
    device, longest, read = "cpu" if jax.default_backend() == "cpu" else "gpu", args.buckets[-1], []
    reading = seconds_of(lambda: read.append(args.source.read(args.shape, SQUAD_WINDOWS)))
    (windows,) = read
    histogram, batches = count_windows(windows, args.buckets), pick_batches(windows, args.shape.batch, args.buckets)
    size = args.matmul or (2048 if device == "cpu" else 8192)
    peak = machine.matmul_peak(products(size, device), size)[args.dtype]
    parts = [Part("0: tokenising", None, 1 + times_augmented(args), [reading])] if args.source.data else []
    parts += project(args, windows, histogram, batches)
    total, padded = sum(part.total for part in parts), padded_seconds(parts, longest)
    print(f"- Sizes: {args.shape}. Preset {args.preset}, {args.dtype}; {args.copies} copies, {args.epochs} epochs.")
    print(
        f"- Windows: {args.source}, {len(windows)} of {windows.lengths.mean():.1f} tokens in the mean; by bucket: ",
        end="",
    )
    print(", ".join(f"{row['windows']} of {row['length']}" for row in histogram), end=".\n")
    print(f"- Device: {jax.devices()[0].device_kind}, {peak / 1e12:.3g} TFLOP/s in {args.dtype} products.")
    print(f"- Allocator: {machine.allocator()}.\n" * (device == "cpu"))
    print(f"{part_table(parts, peak)}\n\n{total / 3600:.3g} h in all.")
    if padded:
        print(f"Padded to {longest} throughout: {padded / 3600:.3g} h, {padded / total:.2f} times as long.")
    rows = [part._asdict() | {"total_seconds": part.total} for part in parts]
    totals = {"total_seconds": total, "padded_seconds": padded, "peak_flops": peak}
    return save(args.output, args, buckets=histogram, parts=rows, **totals)


if __name__ == "__main__":
    command("recipe", Args, main, __doc__)

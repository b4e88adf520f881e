"""How long the seed's recipe takes from end to end, projected from steps measured at each length its windows have.

    python benchmarks/recipe.py --data train.json.gz --tokenizer FOLDER [--dtype bfloat16] [--output FILE]

Stage 1 passes `epochs` times over `copies` augmented copies of the windows, and over the windows themselves unless the
preset's augmentation leaves them out (haystack's does), with the teacher in the step. Stage 2 passes as often over the
windows alone, with the teacher's logits from a cache that its forwards fill first. Every batch is as long as the
shortest bucket that holds its windows. Measured: the median time of a step of each kind at each length, and the
reading and tokenising of the file, which the augmented copies repeat. Counted: how many such steps there are. The
rest is multiplication. Without --data, windows are random tokens as long as SQuAD's are.

Left out: drawing the augmented copies (benchmarks/augment.py), checkpoints, evaluation, and the making of batches,
which is reported beside: train.py makes a batch while the device works at the one before.

`--preset haystack --buckets 384` is the seed's own meaning: padding counts in its means, so that every batch is padded
to 384, and stage 2 runs the teacher, whose logits at padding no cache holds.
"""

import argparse
import dataclasses
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import cycle
from pathlib import Path
from statistics import median
from typing import Any, Protocol

import jax
import numpy as np
from common import DISTINCT_BATCHES, DROPOUT, Job, Shape, random_windows, step_flops
from ours import Ours, matmul_peak, networks, objective_of, random_params
from projection import Part, bucket_table, count_windows, padded_seconds, part_table, steps_at
from worker import allocator

from tinybert_jax.data import Batch, WindowConfig, Windows, load_tokenizer, load_windows, read_squad
from tinybert_jax.data.batches import collate
from tinybert_jax.errors import UserError, run_script
from tinybert_jax.model import forward
from tinybert_jax.run.presets import PRESETS
from tinybert_jax.run.runtime import keep_freed_memory
from tinybert_jax.sharding import data_mesh, replicate, shard_batch
from tinybert_jax.store.files import write_json

SQUAD_WINDOWS = 131_000  # about as many as SQuAD 2.0's training set has, at the default length and overlap
Flops = Callable[[int], float]  # of a step, by the length of its rows
Batches = dict[int, list[Batch]]


class Runner(Protocol):
    """Something whose steps can be timed; `ours.Ours` is one."""

    def step(self, batch: Batch) -> None: ...
    def finish(self) -> Any: ...


class Teacher:
    """The forwards that fill the cache, as `predict_blocks` runs them: the logits of each batch are fetched at once."""

    def __init__(self, shape: Shape, dtype: str):
        network, _ = networks(shape, dtype, DROPOUT)
        self.mesh = data_mesh()
        self.params = replicate(random_params(network, 0, dtype), self.mesh)
        self.logits = jax.jit(lambda params, batch: forward(network, params, batch).logits)

    def step(self, batch: Batch) -> None:
        np.asarray(self.logits(self.params, shard_batch(batch._replace(teacher_logits=None), self.mesh)))

    def finish(self) -> None: ...


def read_windows(args: argparse.Namespace) -> tuple[Windows, float | None]:
    """The windows, and the seconds that reading and tokenising them took."""
    if not args.data:
        return random_windows(args.shape, least=args.windows), None
    begin = time.perf_counter()
    config = WindowConfig(max_seq_len=args.shape.length)
    windows = load_windows(read_squad(args.data), load_tokenizer(args.tokenizer), config, None)
    if not len(windows):
        raise UserError(f"{args.data} must hold a question, got none")
    if windows.tokens.max() >= args.shape.vocab:
        raise UserError(f"vocab must be over the tokenizer's largest id {windows.tokens.max()}, got {args.shape.vocab}")
    return windows, time.perf_counter() - begin


def pick_batches(windows: Windows, batch: int, buckets: tuple[int, ...]) -> tuple[Batches, float]:
    """A few full batches of each bucket's windows, with random logits for the teacher's; the seconds one took."""
    rng = np.random.default_rng(0)
    logits = rng.standard_normal((len(windows.tokens), 2), np.float32)
    bucket = np.searchsorted(buckets, windows.lengths)
    begin, picked = time.perf_counter(), {}
    for index, length in enumerate(buckets):
        members = np.flatnonzero(bucket == index)
        if len(members):
            chosen = rng.choice(members, (DISTINCT_BATCHES, batch))  # there may be fewer than a batch
            picked[length] = [collate(windows, some, length, batch, [logits]) for some in chosen]
    return picked, (time.perf_counter() - begin) / (len(picked) * DISTINCT_BATCHES)


def measure(
    make: Callable[[], Runner], batches: Batches, args: argparse.Namespace
) -> tuple[dict[int, list[float]], float]:
    """Seconds a step for each length, round by round; and what the first steps, which compile, took beyond that."""
    runner = make()
    endless = {length: cycle(some) for length, some in batches.items()}

    def timed(length: int, steps: int) -> float:
        begin = time.perf_counter()
        for _ in range(steps):
            runner.step(next(endless[length]))
        runner.finish()
        return (time.perf_counter() - begin) / steps

    first = {length: timed(length, 1) for length in batches}
    for length in batches:
        timed(length, 1)  # the second is slow too where memory is new
    rounds = [{length: timed(length, args.steps) for length in batches} for _ in range(args.rounds)]
    seconds = {length: [one[length] for one in rounds] for length in batches}
    return seconds, sum(first.values()) - sum(map(median, seconds.values()))


def project(args: argparse.Namespace, windows: Windows, tokenised: float | None) -> tuple[list[Part], float]:
    """Measures every kind of step, and counts them; and the seconds that making a batch takes."""
    shape, buckets, histogram = args.shape, args.buckets, count_windows(windows, args.buckets)
    batches, making = pick_batches(windows, shape.batch, buckets)
    # The file's windows are stage 2's; stage 1's are the augmented data's, which may hold the originals again.
    augmented = args.copies + PRESETS[args.preset].augment.originals if args.copies else 0
    parts = [Part("0: tokenising", None, 1 + augmented, [tokenised])] if tokenised else []

    def add(stage: str, make: Callable[[], Runner], some: Batches, steps: dict[int, int], flops: Flops) -> None:
        print(f"stage {stage}", file=sys.stderr, flush=True)
        seconds, first = measure(make, {length: some[length] for length in steps}, args)
        parts.extend(Part(stage, t, steps[t], seconds[t], flops(t)) for t in steps)
        parts.append(Part(f"{stage[0]}: compiling", None, 1, [max(first, 0.0)]))

    def train(stage: str, job: Job, times: int) -> None:
        steps = {t: args.epochs * count for t, count in steps_at(histogram, shape.batch, times).items()}
        some = {t: [x if job.cached else x._replace(teacher_logits=None) for x in xs] for t, xs in batches.items()}
        runner = partial(Ours, shape, job, args.preset, args.dtype)
        add(stage, runner, some, steps, lambda length: step_flops(shape, job, length))

    train("1: intermediate layers", Job(1), augmented or 1)
    cached = objective_of(args.preset, Job(2), DROPOUT).reads_cache
    if cached:
        wide = replace(shape, batch=args.eval_batch)
        some, _ = pick_batches(windows, wide.batch, buckets)
        forwards = steps_at(histogram, wide.batch)
        add("2: teacher's logits", partial(Teacher, wide, args.dtype), some, forwards, partial(forward_flops, wide))
    train("2: predictions", Job(2, cached), 1)
    return parts, making


def forward_flops(shape: Shape, length: int) -> float:
    """Of the teacher's forward: what a step saves where its logits are cached."""
    return step_flops(shape, Job(1), length) - step_flops(shape, Job(1, cached=True), length)


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="SQuAD JSON; random tokens otherwise")
    parser.add_argument("--tokenizer", help="folder of the tokenizer, needed with --data")
    parser.add_argument("--windows", type=int, default=SQUAD_WINDOWS, help="how many, without --data")
    parser.add_argument("--copies", type=int, default=20, help="augmented ones of every window, in stage 1")
    parser.add_argument("--epochs", type=int, default=5, help="of either stage")
    parser.add_argument("--eval-batch", type=int, default=32, help="windows a forward of the teacher, for its logits")
    parser.add_argument("--buckets", type=int, nargs="+", default=(128, 192, 256, 384), help="lengths of batches")
    parser.add_argument("--preset", choices=("recommended", "haystack"), default="recommended")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="bfloat16")
    sizes = [field for field in dataclasses.fields(Shape) if field.name != "length"]
    for field in sizes:
        parser.add_argument(f"--{field.name.replace('_', '-')}", type=int, default=field.default)
    parser.add_argument("--rounds", type=int, default=3, help="times that every step is measured")
    parser.add_argument("--steps", type=int, default=3, help="steps of each kind and length in a round")
    parser.add_argument("--matmul", type=int, help="size of the product that measures the peak; 2048, on a GPU 8192")
    parser.add_argument("--output", type=Path, help="write every figure as JSON")
    args = parser.parse_args()
    for name in ("windows", "epochs", "eval_batch", "rounds", "steps", "copies"):
        if getattr(args, name) < (least := int(name != "copies")):
            raise UserError(f"{name} must be at least {least}, got {getattr(args, name)}")
    if bool(args.data) != bool(args.tokenizer):
        raise UserError("--data and --tokenizer go together")
    args.buckets = tuple(args.buckets)
    if min(args.buckets) < 1 or list(args.buckets) != sorted(set(args.buckets)):
        raise UserError(f"buckets must be positive, increasing lengths, got {list(args.buckets)}")
    args.shape = Shape(length=args.buckets[-1], **{field.name: getattr(args, field.name) for field in sizes})
    return args


def main() -> None:
    """Measures, projects and prints."""
    args = parse()
    on_cpu = jax.default_backend() == "cpu"
    keep_freed_memory()
    windows, tokenised = read_windows(args)
    histogram = count_windows(windows, args.buckets)
    peak = matmul_peak(args.matmul or (2048 if on_cpu else 8192), "cpu" if on_cpu else "gpu")[args.dtype]
    begin = time.perf_counter()
    parts, making = project(args, windows, tokenised)
    took = time.perf_counter() - begin
    total, padded = sum(part.total for part in parts), padded_seconds(parts, args.buckets[-1])
    sizes = ", ".join(f"{name} {value}" for name, value in dataclasses.asdict(args.shape).items())
    print(f"- Sizes: {sizes}. Preset {args.preset}, {args.dtype}; {args.copies} copies, {args.epochs} epochs a stage.")
    print(
        f"- Windows: {args.data or 'random tokens'}, {len(windows)} of {windows.lengths.mean():.1f} tokens in the mean."
    )
    print(f"- Device: {jax.devices()[0].device_kind}, {peak / 1e12:.3g} TFLOP/s in {args.dtype} products.")
    print(*[f"- Allocator: {allocator()}.\n"] * on_cpu, f"- A batch takes the host {making * 1e3:.2g} ms.\n", sep="")
    print(f"{bucket_table(histogram, args.shape.batch)}\n\n{part_table(parts, peak)}\n")
    print(f"{total / 3600:.3g} h in all, projected from {took:.0f} s of measuring.")
    if padded:
        print(f"Padded to {args.buckets[-1]} throughout: {padded / 3600:.3g} h, {padded / total:.2f} times as long.")
    if args.output:
        rows = [part._asdict() | {"total_seconds": part.total} for part in parts]
        summary = {"total_seconds": total, "padded_seconds": padded, "batch_seconds": making, "peak_flops": peak}
        settings = {name: str(value) for name, value in vars(args).items()}
        write_json(args.output, {"settings": settings, "buckets": histogram, "parts": rows, **summary})


if __name__ == "__main__":
    run_script(main)

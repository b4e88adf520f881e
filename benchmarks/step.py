"""Time and memory of one distillation step, ours beside three PyTorch trainers, interleaved in one run.

    python -m benchmarks.step [--device cpu|gpu] [--stage 1|2|both] [--output FILE]

The contestants, at the published recipe's shapes unless flags say otherwise, dropout on, every parameter trained:

    A    what haystack's trainer ran: eager attention, all states and attention kept, float32 without TF32, plain
         means, clipping, AdamW, a look at the loss every step, every batch padded to the full length
    B    A under autocast: float16 with GradScaler on a GPU, bfloat16 on a CPU
    C    the best plain PyTorch we could write, with the recommended preset's objective: bfloat16 compute over float32
         masters, fused attention, no matrix of scores in the loss, fused AdamW, no sync, length buckets, and
         torch.compile on a GPU (on a CPU it takes minutes)
    ours `make_train_step` with the haystack preset, padded to the full length, and with the recommended one in length
         buckets; each in float32 (on a GPU at jax's default precision, TF32) and in bfloat16

On a processor whose bfloat16 products are the slower ones, C computes in float32, and B, which would take minutes a
step, is left out. That A and C compute what ours do is tested: tests/benchmarks/test_peers.py.

Stage 2 is measured with the teacher in the step, and without, its logits coming with the batch. haystack cached them;
train.py caches them for the recommended preset, and not for haystack's, where logits at padding count.

Each system lives in a process of its own, and rounds go through all of them, one at a time. All get the same windows
(SQuAD's with --data, else random tokens as long as SQuAD's), as one epoch in batches. A bucketed system's step time is
the epoch's mean: measured at each length, weighted by the share of the epoch's batches that have it. Tables hold, of
windows/s, the median over rounds, the least and the most; MFU, model FLOPs (`common.step_flops`) over the peak of
matrix products, the best of both frameworks' and of all types; and peak memory, of the process beyond what importing
took, or of the GPU.
"""

import os
import sys
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from statistics import median
from typing import Any, Literal, NamedTuple, cast

from benchmarks import machine
from benchmarks.common import BASE, JOBS, Device, Job, Shape, Sizes, Stopwatch, command, save, spread, step_flops, table
from benchmarks.windows import RANDOM, AnySource, Workload, make_workload
from tinybert_jax.data import default_buckets
from tinybert_jax.errors import UserError, check_least
from tinybert_jax.run.presets import PresetName

Row = dict[str, Any]
Ours = Literal[
    "ours-haystack-float32", "ours-haystack-bfloat16", "ours-recommended-float32", "ours-recommended-bfloat16"
]
SystemName = Literal["A", "B", "C"] | Ours


class System(NamedTuple):
    """One contestant."""

    label: str
    framework: str  # "jax" or "torch"
    bucketed: bool  # its batches are as short as their windows; else all are padded to the full length


SYSTEMS: dict[SystemName, System] = {
    "A": System("A: PyTorch as haystack ran it, float32", "torch", False),
    "B": System("B: A under autocast", "torch", False),
    "C": System("C: best-effort PyTorch", "torch", True),
    "ours-haystack-float32": System("ours, haystack's meaning, float32", "jax", False),
    "ours-haystack-bfloat16": System("ours, haystack's meaning, bfloat16", "jax", False),
    "ours-recommended-float32": System("ours, recommended, float32", "jax", True),
    "ours-recommended-bfloat16": System("ours, recommended, bfloat16", "jax", True),
}


@dataclass(frozen=True)
class Args:
    """The command line."""

    shape: Sizes = BASE
    source: AnySource = RANDOM
    device: Device = "cpu"
    stage: Literal["1", "2", "both"] = "both"
    systems: tuple[SystemName, ...] = tuple(SYSTEMS)
    rounds: int = 5  # times that every system is measured
    steps: int = 3  # steps of each length in a round, after an untimed one
    matmul: int | None = None  # size of the product that measures the peak; 2048, on a GPU 8192
    output: Path | None = None  # write every figure as JSON

    def __post_init__(self) -> None:
        check_least(self, rounds=1, steps=1, matmul=1)


# --- in a system's process -------------------------------------------------------------------------------------------


def make_runner(system: SystemName, shape: Shape, job: Job, device: Device) -> Any:
    """Sets a system up.

    Raises:
        UserError: it is B, and its products are slow here.
    """
    if SYSTEMS[system].framework == "jax":
        from benchmarks.ours import Ours

        _, preset, dtype = system.split("-")
        return Ours(shape, job, cast(PresetName, preset), dtype)
    from benchmarks.peers import Haystack, Tuned, half_pays

    if system == "A":
        return Haystack(shape, job, device)
    half = half_pays(device)
    if system == "C":
        return Tuned(shape, job, device, half=half)
    if not half:
        raise UserError("PyTorch multiplies bfloat16 more slowly than float32 here")
    return Haystack(shape, job, device, autocast=True)


class Contestant:
    """A system, set up and warm."""

    here: "Contestant"  # the one that this process is for

    def __init__(self, system: SystemName, shape: Shape, job: Job, device: Device, load: Workload):
        self.framework = SYSTEMS[system].framework
        module = import_module("benchmarks.ours" if self.framework == "jax" else "benchmarks.peers")
        self.products = partial(module.products, device=device)
        self.products(1)  # the framework starts up, which is not counted below
        self.begin_bytes = machine.peak_bytes()
        self.runner = make_runner(system, shape, job, device)
        self.seconds, self.lengths = Stopwatch(self.runner, load.batches), list(load.batches)
        for length in self.lengths:
            self.seconds(length)
        machine.give_freed_memory_back()

    def bytes(self) -> int:
        """The most memory so far."""
        on_device = self.runner.device_memory()
        return machine.peak_bytes() - self.begin_bytes if on_device is None else on_device

    def peaks(self, size: int) -> dict[str, float]:
        """FLOP/s of its framework's products, by its name and their type."""
        peaks = machine.matmul_peak(self.products(size), size)
        return {f"{self.framework} {dtype}": rate for dtype, rate in peaks.items()}


def set_up(*spec: Any) -> dict[str, Any]:
    """Makes the process's contestant; returns what there is to say of it."""
    Contestant.here = Contestant(*spec)
    return Contestant.here.runner.facts


def measure_round(steps: int, matmul: int | None) -> Row:
    """Untimed and timed steps of each length; and the peak of products of a size."""
    one = Contestant.here
    for length in one.lengths:
        one.seconds(length)
    figures: Row = {"seconds": {length: one.seconds(length, steps) for length in one.lengths}, "bytes": one.bytes()}
    machine.give_freed_memory_back()
    return figures | {"peaks": one.peaks(matmul) if matmul else {}}


# --- around them -----------------------------------------------------------------------------------------------------


def say(text: str) -> None:
    """Progress, beside the report."""
    print(text, file=sys.stderr, flush=True)


def measure(job: Job, loads: dict[bool, Workload], args: Args) -> dict[SystemName, Row]:
    """Warms the systems, then runs the rounds; what each answered. One that cannot run here is left out."""
    size = args.matmul or (8192 if args.device == "gpu" else 2048)
    processes: dict[SystemName, machine.ProcessPoolExecutor] = {}
    measured: dict[SystemName, Row] = {}

    def ask(system: SystemName, *order: Any) -> Any:
        try:
            return processes[system].submit(*order).result()
        except Exception as error:
            if SYSTEMS[system].framework == "jax" and not isinstance(error, BrokenProcessPool):
                raise
            print(f"{SYSTEMS[system].label}: left out: {error}\n")
            processes.pop(system)
            measured.pop(system, None)

    with ExitStack() as stack:
        for system in args.systems:
            say(f"{job.title}: starting {system}")
            processes[system] = stack.enter_context(machine.new_process())
            spec = (system, args.shape, job, args.device, loads[SYSTEMS[system].bucketed])
            if (facts := ask(system, set_up, *spec)) is not None:
                measured[system] = {"rounds": [], "facts": facts}
        for number in range(args.rounds):
            multiplied = set()  # a framework's products are measured in the first of its systems
            for system in list(processes):
                framework = SYSTEMS[system].framework
                if found := ask(system, measure_round, args.steps, None if framework in multiplied else size):
                    multiplied.add(framework)
                    measured[system]["rounds"].append(found)
                    seconds = ", ".join(f"{one:.3g} s at {length}" for length, one in found["seconds"].items())
                    say(f"round {number + 1}/{args.rounds}: {system} {seconds}")
    return measured


def summarise(system: SystemName, measured: Row, shape: Shape, job: Job, load: Workload, peak: float) -> Row:
    """A system's figures from what its process answered, `peak` being FLOP/s of the machine's matrix products."""
    rounds = measured["rounds"]
    rates = [shape.batch / load.mean(one["seconds"]) for one in rounds]
    steps, flops = median(rates) / shape.batch, {length: step_flops(shape, job, length) for length in load.batches}
    return {
        "system": system,
        "windows_per_second": median(rates),
        "windows_per_second_rounds": rates,
        "real_tokens_per_second": median(rates) * load.mean_tokens,
        "padded_tokens_per_second": median(rates) * load.mean({length: length for length in load.batches}),
        "model_flop_utilisation": steps * load.mean(flops) / peak,
        "peak_bytes": max(one["bytes"] for one in rounds),
        "seconds": {length: [one["seconds"][length] for one in rounds] for length in load.batches},
        **measured["facts"],
    }


def report(job: Job, rows: list[Row], peaks: dict[str, float]) -> str:
    """The table of a job, with how far each system is ahead of the peers, and notes."""
    rates = {row["system"]: row["windows_per_second"] for row in rows}
    peers = [system for system in rates if SYSTEMS[system].framework == "torch"]
    lines = [
        {
            "system": SYSTEMS[row["system"]].label,
            "windows/s": spread(row["windows_per_second_rounds"]),
            **{f"over {peer}": f"{rates[row['system']] / rates[peer]:.2f}×" for peer in peers},
            "real tokens/s": f"{row['real_tokens_per_second']:.0f}",
            "padded tokens/s": f"{row['padded_tokens_per_second']:.0f}",
            "MFU": f"{row['model_flop_utilisation']:.1%}",
            "peak memory, MiB": f"{row['peak_bytes'] / 2**20:.0f}",
            "XLA temporaries, MiB": f"{row['temp_bytes'] / 2**20:.0f}" if "temp_bytes" in row else "–",
            "compile, s": f"{row['compile_seconds']:.1f}" if "compile_seconds" in row else "–",
        }
        for row in rows
    ]
    best = ", ".join(f"{name} {rate / 1e12:.3g}" for name, rate in peaks.items())
    notes = [f"- On {'; '.join(sorted({row['device'] for row in rows}))}."]
    notes += [f"- Matrix products' peak, TFLOP/s, best of the rounds: {best}."]
    notes += [f"- {row['system']}: {row['note']}." for row in rows if "note" in row]
    return "\n".join([f"\n### {job.title}\n", table(lines), "", *notes])


def main(args: Args) -> dict[str, Any]:
    """Measures and reports every job; returns all figures."""
    os.environ.update(machine.environment(args.device))
    shape, windows, results = args.shape, args.source.read(args.shape, 4096), []
    buckets = {False: (shape.length,), True: default_buckets(shape.length)}
    loads = {bucketed: make_workload(windows, shape.batch, lengths) for bucketed, lengths in buckets.items()}
    shares = ", ".join(f"{share:.0%} of {length}" for length, share in loads[True].shares.items())
    print(f"- Sizes: {shape}.\n- Windows: {args.source}, {loads[True].mean_tokens:.1f} tokens in the mean; {shares}.")
    print(f"- {args.device}; {args.rounds} rounds of {args.steps} step(s) of each length, after one untimed.")
    print(f"- Allocator: {machine.allocator()}.", flush=True)
    for job in (job for job in JOBS if args.stage in ("both", str(job.stage))):
        if not (measured := measure(job, loads, args)):
            raise UserError(f"none of these systems runs here: {', '.join(args.systems)}")
        rates = [rate for one in measured.values() for answer in one["rounds"] for rate in answer["peaks"].items()]
        peaks = dict(sorted(rates, key=lambda named: named[1]))  # the best of each comes last
        rows = [
            summarise(system, one, shape, job, loads[SYSTEMS[system].bucketed], max(peaks.values()))
            for system, one in measured.items()
        ]
        print(report(job, rows, peaks), flush=True)
        results.append({"job": job._asdict(), "systems": rows, "peaks": peaks})
    return save(args.output, args, results=results)


if __name__ == "__main__":
    command("step", Args, main, __doc__)

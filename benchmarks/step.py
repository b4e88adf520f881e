"""Time and memory of one step of stage 1, ours beside three PyTorch trainers, interleaved in one run.

    python -m benchmarks.step [--device cpu|gpu]

The contestants, at the published recipe's shapes unless flags say otherwise, every parameter trained, with BERT's
dropout, but for the recommended preset, which distils without, and C, which does the same:

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

Each system lives in a process of its own, and rounds go through all of them, one at a time; before, a GPU's systems
compile side by side, a CPU's one after another, as they would want all of its memory. All get the same windows
(SQuAD's with --data, else random tokens as long as SQuAD's), as one epoch in batches. A bucketed system's step time is
the epoch's mean: measured at each length, weighted by the share of the epoch's batches that have it. Tables hold, of
windows/s, the median over rounds, the least and the most; MFU, model FLOPs (`common.step_flops`) over the peak of
matrix products, the best of both frameworks' and of all types; and peak memory, of the process beyond what importing
took, or of the GPU.
"""

import os
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from statistics import median
from typing import Any, Literal, NamedTuple, cast

from benchmarks import machine
from benchmarks.common import BASE, Device, Shape, Stopwatch, command, say, spread, step_flops, table
from benchmarks.workload import RANDOM, Source, Workload, make_workload
from tinybert_jax.data import default_buckets
from tinybert_jax.errors import UserError, check_least
from tinybert_jax.model.config import Dtype
from tinybert_jax.run.presets import PresetName

Row = dict[str, Any]
Ours = Literal[
    "ours-haystack-float32", "ours-haystack-bfloat16", "ours-recommended-float32", "ours-recommended-bfloat16"
]
SystemName = Literal["A", "B", "C"] | Ours


class System(NamedTuple):
    """One contestant."""

    label: str
    framework: Literal["jax", "torch"]
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
MODULES = {"jax": "benchmarks.ours", "torch": "benchmarks.peers"}


@dataclass(frozen=True)
class Args:
    """The command line."""

    shape: Shape = BASE
    source: Source = RANDOM
    device: Device = "cpu"
    systems: tuple[SystemName, ...] = tuple(SYSTEMS)
    rounds: int = 5  # times that every system is measured
    steps: int = 3  # steps of each length in a round, after an untimed one

    def __post_init__(self) -> None:
        check_least(self, rounds=1, steps=1)


# --- in a system's process -------------------------------------------------------------------------------------------


def find_peaks(frameworks: Iterable[str], size: int, device: Device) -> dict[str, float]:
    """FLOP/s of frameworks' products, by their names and types."""
    found = {}
    for framework in frameworks:
        peaks = machine.matmul_peak(import_module(MODULES[framework]).products(size, device), size)
        found |= {f"{framework} {dtype}": rate for dtype, rate in peaks.items()}
    return found


def make_runner(system: SystemName, args: Args) -> Any:
    """Sets a system up.

    Raises:
        UserError: it is B, and its products are slow here.
    """
    if SYSTEMS[system].framework == "jax":
        from benchmarks.ours import Ours

        _, preset, dtype = system.split("-")
        return Ours(args.shape, 1, cast(PresetName, preset), cast(Dtype, dtype))
    from benchmarks.peers import Haystack, Tuned, half_pays

    if system == "A":
        return Haystack(args.shape, args.device)
    half = half_pays(args.device)
    if system == "C":
        return Tuned(args.shape, args.device, half=half)
    if not half:
        raise UserError("PyTorch multiplies bfloat16 more slowly than float32 here")
    return Haystack(args.shape, args.device, autocast=True)


class Contestant:
    """A system, set up and warm."""

    here: "Contestant"  # the one that this process is for

    def __init__(self, system: SystemName, args: Args, load: Workload):
        find_peaks([SYSTEMS[system].framework], 1, args.device)  # the framework starts up, which is not counted below
        self.begin_bytes = machine.peak_bytes()
        self.runner = make_runner(system, args)
        self.seconds, self.lengths = Stopwatch(self.runner, load.batches), list(load.batches)
        for length in self.lengths:
            self.seconds(length)
        machine.give_freed_memory_back()

    def measure(self, steps: int) -> Row:
        """Seconds a step of each length, after an untimed one; and the most memory so far."""
        for length in self.lengths:
            self.seconds(length)
        seconds = {length: self.seconds(length, steps) for length in self.lengths}
        on_device = self.runner.device_memory()
        most = machine.peak_bytes() - self.begin_bytes if on_device is None else on_device
        machine.give_freed_memory_back()
        return {"seconds": seconds, "bytes": most}


def set_up(*spec: Any) -> dict[str, Any]:
    """Makes the process's contestant; returns what there is to say of it."""
    Contestant.here = Contestant(*spec)
    return Contestant.here.runner.facts


def measure_round(steps: int) -> Row:
    """One round of the process's contestant."""
    return Contestant.here.measure(steps)


# --- around them -----------------------------------------------------------------------------------------------------


def measure(loads: dict[bool, Workload], args: Args) -> dict[SystemName, Row]:
    """Warms the systems, then runs the rounds; what each answered. One that cannot run here is left out."""
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

    def start(system: SystemName) -> None:
        say(f"starting {system}")
        began = time.perf_counter()
        if (facts := ask(system, set_up, system, args, loads[SYSTEMS[system].bucketed])) is not None:
            measured[system] = {"rounds": [], "facts": facts}
            say(f"{system} is ready after {time.perf_counter() - began:.0f} s")

    with ExitStack() as stack:
        processes |= {system: stack.enter_context(machine.new_process()) for system in args.systems}
        with ThreadPoolExecutor(1 if args.device == "cpu" else len(processes)) as at_once:
            list(at_once.map(start, args.systems))
        measured = {system: measured[system] for system in args.systems if system in measured}
        for number in range(args.rounds):
            for system in list(processes):
                if found := ask(system, measure_round, args.steps):
                    measured[system]["rounds"].append(found)
                    seconds = ", ".join(f"{one:.3g} s at {length}" for length, one in found["seconds"].items())
                    say(f"round {number + 1}/{args.rounds}: {system} {seconds}")
    if not measured:
        raise UserError(f"none of these systems runs here: {', '.join(args.systems)}")
    return measured


def summarise(system: SystemName, measured: Row, args: Args, load: Workload, peak: float) -> Row:
    """A system's figures from what its process answered, `peak` being FLOP/s of the machine's matrix products."""
    rounds, batch = measured["rounds"], args.shape.batch
    rates = [batch / load.mean(one["seconds"]) for one in rounds]
    flops = {length: step_flops(args.shape, 1, length) for length in load.batches}
    return {
        "system": system,
        "windows_per_second": median(rates),
        "windows_per_second_rounds": rates,
        "model_flop_utilisation": median(rates) / batch * load.mean(flops) / peak,
        "peak_bytes": max(one["bytes"] for one in rounds),
        "seconds": {length: [one["seconds"][length] for one in rounds] for length in load.batches},
        **measured["facts"],
    }


def report(rows: list[Row], peaks: dict[str, float]) -> str:
    """The table, with how far each system is ahead of the peers, and notes."""
    rates = {row["system"]: row["windows_per_second"] for row in rows}
    peers = [system for system in rates if SYSTEMS[system].framework == "torch"]
    lines = [
        {
            "system": SYSTEMS[row["system"]].label,
            "windows/s": spread(row["windows_per_second_rounds"]),
            **{f"over {peer}": f"{rates[row['system']] / rates[peer]:.2f}×" for peer in peers},
            "MFU": f"{row['model_flop_utilisation']:.1%}",
            "peak memory, MiB": f"{row['peak_bytes'] / 2**20:.0f}",
            "XLA temporaries, MiB": f"{row['temp_bytes'] / 2**20:.0f}" if "temp_bytes" in row else "–",
        }
        for row in rows
    ]
    notes = [f"- On {'; '.join(sorted({row['device'] for row in rows}))}."]
    notes += [f"- Matrix products, TFLOP/s: {', '.join(f'{name} {rate / 1e12:.3g}' for name, rate in peaks.items())}."]
    notes += [f"- {row['system']}: {row['note']}." for row in rows if "note" in row]
    return "\n".join(["", table(lines), "", *notes])


def main(args: Args) -> dict[str, Any]:
    """Measures and reports; returns all figures."""
    os.environ.update(machine.environment(args.device))
    shape, windows = args.shape, args.source.read(args.shape, 4096)
    buckets = {False: (shape.length,), True: default_buckets(shape.length)}
    loads = {bucketed: make_workload(windows, shape.batch, lengths) for bucketed, lengths in buckets.items()}
    shares = ", ".join(f"{share:.0%} of {length}" for length, share in loads[True].shares.items())
    print(f"- {shape}.\n- {args.device}; {args.rounds} rounds of {args.steps} step(s) of each length.")
    print(f"- Windows: {args.source}, {loads[True].mean_tokens:.1f} tokens in the mean; {shares}.\n", flush=True)
    size = min(2048 if args.device == "cpu" else 8192, shape.batch * shape.length)
    peaks = machine.in_process({}, find_peaks, list(filter(find_spec, MODULES)), size, args.device)
    measured = measure(loads, args)
    rows = [
        summarise(system, one, args, loads[SYSTEMS[system].bucketed], max(peaks.values()))
        for system, one in measured.items()
    ]
    print(report(rows, peaks), flush=True)
    return {"systems": rows, "peaks": peaks}


if __name__ == "__main__":
    command(main, __doc__)

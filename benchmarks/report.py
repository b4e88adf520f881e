"""Every figure that has a target, measured by one command and printed beside it.

    python -m benchmarks.report --device cpu|gpu --output FOLDER [--data train.json.gz --tokenizer FOLDER]

Runs step (stage 1, ours beside the PyTorch trainers), recipe (the published recipe at the lengths that our long
recipes use) and augment, one after another, each in a process of its own, with the sizes given here. What they print
goes into FOLDER with their JSON. "Ours" is the recommended preset in the type that is the faster one here. Without
--data, windows are random tokens as long as SQuAD's.
"""

import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from benchmarks import augment, recipe, step
from benchmarks.common import BASE, Device, Job, Shape, Sizes, command, step_flops, table
from benchmarks.machine import in_process
from benchmarks.windows import RANDOM, AnySource
from tinybert_jax.run.recipes import RECIPES

OURS: tuple[step.SystemName, ...] = ("ours-recommended-bfloat16", "ours-recommended-float32")
BUCKETS = RECIPES["tinybert-6l-768d-squad2-paper"]().buckets


@dataclass(frozen=True)
class Args:
    """The command line."""

    device: Device
    output: Path  # folder of the reports and their JSON
    shape: Sizes = BASE
    source: AnySource = RANDOM
    rounds: int = 5  # times that everything is measured
    steps: int = 3  # steps of each length in a round
    matmul: int | None = None  # size of the product that measures the peak; 2048, on a GPU 8192
    paragraphs: int = 16  # how many to augment


class Figure(NamedTuple):
    """One line of the table."""

    name: str
    measured: float | None  # None where a system it needs did not run
    target: float
    at_least: bool = True  # the target is a lower bound; else an upper one
    unit: str = "×"

    @property
    def row(self) -> dict[str, str]:
        """As the table shows it."""
        line = {"figure": self.name, "target": f"{'≥' if self.at_least else '≤'} {self.target:.3g}{self.unit}"}
        if self.measured is None:
            return line | {"measured": "not run", "": ""}
        reached = self.measured >= self.target if self.at_least else self.measured <= self.target
        return line | {"measured": f"{self.measured:.3g}{self.unit}", "": "reached" if reached else "missed"}


def written(main: Callable[[Any], Any], args: Any) -> Any:
    """Runs a benchmark, its report going into a file beside its JSON."""
    with args.output.with_suffix(".md").open("w") as report, redirect_stdout(report):
        return main(args)


def choose_ours(rows: dict[str, dict[str, Any]]) -> step.SystemName:
    """The faster of our systems."""
    return max((system for system in OURS if system in rows), key=lambda system: rows[system]["windows_per_second"])


def step_figures(job: dict[str, Any], shape: Shape, device: Device) -> list[Figure]:
    """Speed and memory of the stage-1 step."""
    rows = {row["system"]: row for row in job["systems"]}
    ours = rows[choose_ours(rows)]

    def over(peer: str, figure: str) -> float | None:
        return ours[figure] / rows[peer][figure] if peer in rows else None

    targets = {"A": 3.5, "B": 1.5} if device == "cpu" else {"A": 8.0, "B": 3.0, "C": 1.3}
    speeds = [
        Figure(f"windows/s over {peer}", over(peer, "windows_per_second"), least) for peer, least in targets.items()
    ]
    memory = Figure("peak memory over A's", over("A", "peak_bytes"), 0.5 if device == "cpu" else 1 / 3, at_least=False)
    if device == "cpu":
        return [*speeds, memory]
    rate = step_flops(shape, Job(1), shape.length) / median(ours["seconds"][shape.length])
    of_peak = 100 * rate / max(job["peaks"].values())
    return [Figure(f"of the matmul peak, {shape.length} tokens", of_peak, 50, unit="%"), *speeds, memory]


def augment_figures(rates: dict[str, list[float]]) -> list[Figure]:
    """Words a second, of the recommended preset, over the published loops."""
    ours, targets = median(rates["ours"]), {"haystack's way": 5.0, "Huawei's way": 20.0}
    found = {way: ours / median(rates[way]) if way in rates else None for way in targets}
    return [Figure(f"augmentation over {way}", found[way], least) for way, least in targets.items()]


def main(args: Args) -> None:
    """Measures and prints."""
    args.output.mkdir(parents=True, exist_ok=True)
    shape, settings = args.shape, {"JAX_PLATFORMS": "cpu"} if args.device == "cpu" else {}

    def measure(benchmark: Any, **flags: Any) -> Any:
        name = benchmark.__name__.rpartition(".")[2]
        print(f"running {name}", file=sys.stderr, flush=True)
        asked = benchmark.Args(**flags, rounds=args.rounds, output=args.output / f"{name}.json")
        return in_process(settings, written, benchmark.main, asked)

    common = {"shape": shape, "source": args.source, "steps": args.steps, "matmul": args.matmul}
    (job,) = measure(step, device=args.device, stage="1", systems=("A", "B", "C", *OURS), **common)["results"]
    dtype = choose_ours({row["system"]: row for row in job["systems"]}).rsplit("-", 1)[1]
    buckets = (*(length for length in BUCKETS if length < shape.length), shape.length)
    hours = measure(recipe, dtype=dtype, buckets=buckets, **common)["total_seconds"] / 3600
    network = {"layers": shape.layers_teacher, "hidden": shape.hidden, "vocabulary": shape.vocab}
    rates = measure(augment, device=args.device, paragraphs=args.paragraphs, **network)["rates"]
    projected = Figure("the published recipe, projected", hours, 1, at_least=False, unit=" h")
    figures = [*step_figures(job, shape, args.device), *[projected] * (args.device == "gpu"), *augment_figures(rates)]
    print(f"Ours: the recommended preset in {dtype}. The published recipe would take {hours:.3g} h.\n")
    print(table([figure.row for figure in figures]))


if __name__ == "__main__":
    command("report", Args, main, __doc__)

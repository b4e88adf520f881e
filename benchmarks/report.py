"""Every figure that has a target, measured by one command and printed beside it.

    python -m benchmarks.report --device cpu|gpu [--data train.json.gz --tokenizer FOLDER]

Runs step (stage 1, ours beside the PyTorch trainers), recipe (the published recipe at the lengths that our long
recipes use) and augment, one after another, each in a process of its own, with the sizes given here; what they print
comes first. "Ours" is the recommended preset in the type that is the faster one here. Without --data, windows are
random tokens as long as SQuAD's.
"""

from dataclasses import dataclass
from statistics import median
from typing import Any, NamedTuple

from benchmarks import augment, recipe, step
from benchmarks.common import BASE, Device, Shape, command, say, step_flops, table
from benchmarks.machine import in_process
from benchmarks.workload import RANDOM, Source
from tinybert_jax.run.recipes import RECIPES

OURS: tuple[step.SystemName, ...] = ("ours-recommended-bfloat16", "ours-recommended-float32")
BUCKETS = RECIPES["tinybert-6l-768d-squad2-paper"]().buckets


@dataclass(frozen=True)
class Args:
    """The command line."""

    device: Device
    shape: Shape = BASE
    source: Source = RANDOM
    rounds: int = 5  # times that everything is measured
    steps: int = 3  # steps of each length in a round
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


def choose_ours(rows: dict[str, dict[str, Any]]) -> step.SystemName:
    """The faster of our systems."""
    return max((system for system in OURS if system in rows), key=lambda system: rows[system]["windows_per_second"])


def step_figures(rows: dict[str, Any], peak: float, shape: Shape, device: Device) -> list[Figure]:
    """Speed and memory of the stage-1 step, `peak` being the machine's FLOP/s in matrix products."""
    ours = rows[choose_ours(rows)]

    def over(peer: str, figure: str) -> float | None:
        return ours[figure] / rows[peer][figure] if peer in rows else None

    targets = {"A": 3.5, "B": 1.5} if device == "cpu" else {"A": 8.0, "B": 3.0, "C": 1.3}
    speeds = [Figure(f"windows/s over {one}", over(one, "windows_per_second"), least) for one, least in targets.items()]
    memory = Figure("peak memory over A's", over("A", "peak_bytes"), 0.5 if device == "cpu" else 1 / 3, at_least=False)
    if device == "cpu":
        return [*speeds, memory]
    of_peak = 100 * step_flops(shape, 1, shape.length) / median(ours["seconds"][shape.length]) / peak
    return [Figure(f"of the matmul peak, {shape.length} tokens", of_peak, 50, unit="%"), *speeds, memory]


def augment_figures(rates: dict[str, list[float]]) -> list[Figure]:
    """Words a second, of the recommended preset, over the published loops."""
    ours, targets = median(rates["ours"]), {"haystack's way": 5.0, "Huawei's way": 20.0}
    found = {way: ours / median(rates[way]) if way in rates else None for way in targets}
    return [Figure(f"augmentation over {way}", found[way], least) for way, least in targets.items()]


def main(args: Args) -> list[Figure]:
    """Measures and prints; returns the table's figures."""
    shape, device = args.shape, args.device

    def measure(benchmark: Any, **flags: Any) -> Any:
        name = benchmark.__name__.rpartition(".")[2]
        say(f"running {name}")
        print(f"\n## {name}\n", flush=True)
        asked = benchmark.Args(shape=shape, rounds=args.rounds, **flags)
        return in_process({"JAX_PLATFORMS": "cpu"} if device == "cpu" else {}, benchmark.main, asked)

    common = {"source": args.source, "steps": args.steps}
    steps = measure(step, device=device, systems=("A", "B", "C", *OURS), **common)
    rows, peak = {row["system"]: row for row in steps["systems"]}, max(steps["peaks"].values())
    dtype = choose_ours(rows).rsplit("-", 1)[1]
    buckets = (*(length for length in BUCKETS if length < shape.length), shape.length)
    parts = measure(recipe, dtype=dtype, buckets=buckets, **common)
    figures = [
        *step_figures(rows, peak, shape, device),
        *augment_figures(measure(augment, device=device, paragraphs=args.paragraphs)),
    ]
    if device == "gpu":
        hours = sum(part.total for part in parts) / 3600
        figures.append(Figure("the published recipe, projected", hours, 1, at_least=False, unit=" h"))
    print(f"\n## All\n\nOurs: the recommended preset in {dtype}.\n\n{table([figure.row for figure in figures])}")
    return figures


if __name__ == "__main__":
    command(main, __doc__)

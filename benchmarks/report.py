"""Every figure that has an aim, measured by one command and printed beside it.

    python benchmarks/report.py --device cpu|gpu --output FOLDER [--data train.json.gz --tokenizer FOLDER]

Runs step.py (stage 1, ours beside the PyTorch trainers), recipe.py (the seed's recipe at the lengths that our long
recipes use) and augment.py, one after another, passing on the sizes given here. What they print goes into FOLDER with
their JSON, then the table of aims is made from the latter. "Ours" is the recommended preset in the type that is the
faster one here. Without --data, windows are random tokens as long as SQuAD's.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from common import Job, Shape, step_flops

from tinybert_jax.errors import UserError, run_script
from tinybert_jax.run.recipes import RECIPES

HERE = Path(__file__).parent
OURS = ("ours-recommended-bfloat16", "ours-recommended-float32")
BUCKETS = RECIPES["tinybert-6l-768d-squad2-paper"]().buckets


class Figure(NamedTuple):
    """One line of the table.

    Attributes:
        name: what is measured.
        measured: None where a system it needs did not run.
        aim: the bound.
        at_least: the aim is a lower bound; else an upper one.
        unit: written behind both.
    """

    name: str
    measured: float | None
    aim: float
    at_least: bool
    unit: str

    @property
    def cells(self) -> tuple[str, ...]:
        """As the table shows it."""
        aim = f"{'≥' if self.at_least else '≤'} {self.aim:.3g}{self.unit}"
        if self.measured is None:
            return self.name, aim, "not run", ""
        reached = self.measured >= self.aim if self.at_least else self.measured <= self.aim
        return self.name, aim, f"{self.measured:.3g}{self.unit}", "reached" if reached else "missed"


def run(script: str, output: Path, device: str, *flags: str) -> dict[str, Any]:
    """Runs a benchmark; returns its JSON.

    Raises:
        UserError: it failed.
    """
    print(f"running {script}", file=sys.stderr, flush=True)
    written = output / f"{Path(script).stem}.json"
    command = [sys.executable, str(HERE / script), *flags, "--output", str(written)]
    environment = os.environ | ({"JAX_PLATFORMS": "cpu"} if device == "cpu" else {})
    with written.with_suffix(".md").open("w") as report:
        status = subprocess.run(command, stdout=report, env=environment).returncode
    if status:
        raise UserError(f"{script} ended with status {status}: see above")
    return json.loads(written.read_text())


def choose_ours(rows: dict[str, dict[str, Any]]) -> str:
    """The faster of our systems."""
    return max((system for system in OURS if system in rows), key=lambda system: rows[system]["windows_per_second"])


def step_figures(step: dict[str, Any], shape: Shape, device: str) -> list[Figure]:
    """Speed and memory of the stage-1 step."""
    (job,) = step["results"]
    rows, ratios = {row["system"]: row for row in job["systems"]}, {"A": 8.0, "B": 3.0, "C": 1.3}
    ours = choose_ours(rows)
    longest = [one[str(shape.length)]["seconds"] for one in job["measured"][ours]["rounds"]]
    peak = max(rate for probe in step["probes"].values() for rate in probe["peaks"].values())
    of_peak = 100 * step_flops(shape, Job(1), shape.length) / median(longest) / peak
    if device == "cpu":
        ratios = {"A": 3.5, "B": 1.5}

    def ratio(peer: str, name: str) -> float | None:
        return rows[ours][name] / rows[peer][name] if peer in rows else None

    return [
        *([Figure(f"of the matmul peak, {shape.length} tokens", of_peak, 50, True, "%")] * (device == "gpu")),
        *(Figure(f"windows/s over {x}", ratio(x, "windows_per_second"), aim, True, "×") for x, aim in ratios.items()),
        Figure("peak memory over A's", ratio("A", "peak_bytes"), 1 / 3 if device == "gpu" else 0.5, False, "×"),
    ]


def augment_figures(rates: dict[str, Any]) -> list[Figure]:
    """Words a second, of the recommended preset, over the published loops."""
    medians = {name: median(some) for name, some in rates.items() if name != "arguments"}
    first = next(iter(medians.values()))
    aims = (("haystack", 5.0), ("Huawei", 20.0))
    found = {
        aim: next((first / rate for name, rate in medians.items() if name.startswith(aim)), None) for aim, _ in aims
    }
    return [Figure(f"augmentation over {name}'s way", found[name], aim, True, "×") for name, aim in aims]


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "gpu"), required=True)
    parser.add_argument("--output", type=Path, required=True, help="folder of the reports and their JSON")
    parser.add_argument("--data", help="SQuAD JSON; random tokens otherwise")
    parser.add_argument("--tokenizer", help="folder of the tokenizer, needed with --data")
    Shape.add_flags(parser)
    parser.add_argument("--rounds", type=int, default=5, help="times that everything is measured")
    parser.add_argument("--steps", type=int, default=3, help="steps of each length in a round")
    parser.add_argument("--matmul", type=int, help="size of the product that measures the peak; 2048, on a GPU 8192")
    parser.add_argument("--paragraphs", type=int, default=16, help="how many to augment")
    return parser.parse_args()


def flags_of(args: argparse.Namespace, *names: str) -> list[str]:
    """The options of these names that were given, as words of a command line."""
    given = ((name, getattr(args, name)) for name in names)
    return [word for name, value in given if value for word in (f"--{name.replace('_', '-')}", str(value))]


def main() -> None:
    """Measures and prints."""
    args = parse()
    shape = Shape.of(args)
    args.output.mkdir(parents=True, exist_ok=True)
    common = flags_of(args, "data", "tokenizer", "rounds", "steps", "matmul", *vars(shape).keys() - {"length"})
    systems = ",".join(("A", "B", "C", *OURS))
    step = run(
        *("step.py", args.output, args.device, "--device", args.device, "--stage", "1", "--systems", systems),
        *("--length", str(shape.length), *common),
    )
    figures = step_figures(step, shape, args.device)
    rows = {row["system"]: row for row in step["results"][0]["systems"]}
    dtype = choose_ours(rows).rsplit("-", 1)[1]
    lengths = [str(length) for length in BUCKETS if length < shape.length] + [str(shape.length)]
    recipe = run("recipe.py", args.output, args.device, "--dtype", dtype, "--buckets", *lengths, *common)
    hours = recipe["total_seconds"] / 3600
    figures += [Figure("the seed's recipe, projected", hours, 1, False, " h")] * (args.device == "gpu")
    network = ["--layers", str(shape.layers_teacher), "--hidden", str(shape.hidden), "--vocabulary", str(shape.vocab)]
    augment = ["--device", args.device, *network, *flags_of(args, "rounds", "paragraphs")]
    figures += augment_figures(run("augment.py", args.output, args.device, *augment))
    print(f"Ours: the recommended preset in {dtype}. The seed's recipe would take {hours:.3g} h.\n")
    print("| figure | aim | measured | |\n| --- | --- | --- | --- |")
    print("\n".join(f"| {' | '.join(figure.cells)} |" for figure in figures))


if __name__ == "__main__":
    run_script(main)

"""How the step's memory grows with the length of a batch, and what devices exchange at a fixed share of it each.

    python -m benchmarks.scaling [--preset recommended] [--dtype float32] [--output FILE]

Nothing runs: steps are compiled. The first table is stage 1's memory that XLA plans beside parameters and batch
(`memory_analysis`), by length; position tables are made as long as it needs.

The second is weak scaling: the step compiled for 1, 2, 4 and 8 devices, simulated on the CPU, with as many windows on
each, and what its devices say to each other: collectives by kind, bytes of gradients beside the student's own, scalars
(losses, norms, counts), and all else, which should be nothing.
"""

import os
import sys
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import jax

from benchmarks.common import Job, PresetName, Shape, Sizes, command, save, table
from benchmarks.hlo import find_collectives, sort_traffic
from benchmarks.machine import environment, in_process
from benchmarks.ours import example_batch, init, lower_step, networks
from tinybert_jax.errors import check
from tinybert_jax.model.config import Dtype
from tinybert_jax.sharding import data_mesh

Figures = dict[str, Any]
SMALL = Shape(batch=4)


@dataclass(frozen=True)
class Args:
    """The command line."""

    shape: Sizes = SMALL  # the batch is each device's
    lengths: tuple[int, ...] = (128, 256, 384, 512, 1024, 2048)
    devices: tuple[int, ...] = (1, 2, 4, 8)  # simulated; none leaves them out
    preset: PresetName = "recommended"
    dtype: Dtype = "float32"
    output: Path | None = None  # write every figure as JSON

    def __post_init__(self) -> None:
        for name in ("lengths", "devices"):
            least = min(getattr(self, name), default=1)
            check(name, least, least >= 1, "at least 1")


def compiled_figures(shape: Shape, job: Job, args: Args) -> Figures:
    """Of the step, compiled for the devices that this process has: its memory, its work, what devices exchange."""
    compiled = lower_step(shape, job, args.preset, args.dtype, data_mesh(), example_batch(shape, job)).compile()
    key = jax.random.key(0)
    theirs, ours = (jax.eval_shape(partial(init, one, "float32"), key) for one in networks(shape, args.dtype))
    gradients = gradient_sizes(ours, shape, job)
    return {
        "stage": job.stage,
        "devices": jax.device_count(),
        "batch": shape.batch,
        "temp_bytes": compiled.memory_analysis().temp_size_in_bytes,
        "flops": compiled.cost_analysis().get("flops", 0.0),
        "expected_bytes": sum(gradients),
        "teacher_bytes": sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(theirs)),
        **sort_traffic(find_collectives(compiled.as_text()), gradients),
    }


def gradient_sizes(student: Any, shape: Shape, job: Job) -> list[int]:
    """Bytes of each gradient that is not 0 from the outset.

    Of the position table that is a batch's length of rows. And stage 1 stops below the span head.
    """

    def size(path: Any, leaf: Any) -> int:
        names = [key.key for key in path]
        if job.stage == 1 and "qa_outputs" in names:
            return 0
        rows = shape.length if "position_embeddings" in names else leaf.shape[0]
        return rows * leaf.size // leaf.shape[0] * leaf.dtype.itemsize

    return [bytes_ for bytes_ in jax.tree.leaves(jax.tree_util.tree_map_with_path(size, student)) if bytes_]


def grow(args: Args) -> list[Figures]:
    """The first table's figures, row by row."""
    rows = []
    for length in args.lengths:
        print(f"length {length}", file=sys.stderr, flush=True)
        rows.append({"length": length, **compiled_figures(replace(args.shape, length=length), Job(1), args)})
    return rows


def growth_table(rows: list[Figures]) -> str:
    """Markdown; growth is against the first length."""
    first, lines = rows[0]["temp_bytes"], []
    for row in rows:
        line = {"length": row["length"], "temporaries, MiB": f"{row['temp_bytes'] / 2**20:.1f}"}
        lines.append(line | {"growth": f"{row['temp_bytes'] / first:.1f}×"})
    return table(lines)


def both_stages(shape: Shape, args: Args) -> list[Figures]:
    """What a process with more devices computes."""
    return [compiled_figures(shape, job, args) for job in (Job(1), Job(2, cached=True))]


def spread_out(args: Args) -> list[Figures]:
    """The second table's figures: a process for each number of devices, which jax must know when it starts."""
    rows: list[Figures] = []
    for devices in args.devices:
        print(f"{devices} device(s)", file=sys.stderr, flush=True)
        # Machine code that never runs need not be good; HLO is optimised all the same.
        flags = f"--xla_force_host_platform_device_count={devices} --xla_backend_optimization_level=0"
        settings = environment("cpu") | {"XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} {flags}".strip()}
        rows += in_process(settings, both_stages, replace(args.shape, batch=args.shape.batch * devices), args)
    return sorted(rows, key=lambda row: row["stage"])


def traffic_table(rows: list[Figures]) -> str:
    """Markdown; and what is exchanged that should not be."""
    lines = [
        {
            "stage": row["stage"],
            "devices": row["devices"],
            "windows": row["batch"],
            "collectives": ", ".join(f"{count} {kind}" for kind, count in row["kinds"].items()) or "none",
            "with gradients": row["gradient_collectives"],
            "gradients, MB": f"{row['gradient_bytes'] / 1e6:.3f}",
            "of the student's, MB": f"{row['expected_bytes'] / 1e6:.3f}",
            "scalars": row["scalars"],
            "other bytes": sum(other["bytes"] for other in row["others"]),
            "largest, MB": f"{row['largest'] / 1e6:.3f}",
            "teacher's, MB": f"{row['teacher_bytes'] / 1e6:.3f}",
            "temporaries a device, MiB": f"{row['temp_bytes'] / 2**20:.1f}",
            "GFLOP a device": f"{row['flops'] / 1e9:.3g}",
        }
        for row in rows
    ]
    others = [f"\n- stage {row['stage']}, {row['devices']} devices: {other}" for row in rows for other in row["others"]]
    return table(lines) + "".join(others)


def main(args: Args) -> dict[str, Any]:
    """Compiles and prints; returns all figures."""
    grown, over_devices = grow(args), spread_out(args)
    print(f"Preset {args.preset}, {args.dtype}, on {jax.devices()[0].device_kind}; unless varied: {args.shape}")
    for rows, make in ((grown, growth_table), (over_devices, traffic_table)):
        if rows:
            print(f"\n{make(rows)}")
    return save(args.output, args, growth=grown, devices=over_devices)


if __name__ == "__main__":
    command("scaling", Args, main, __doc__)

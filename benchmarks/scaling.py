"""Weak scaling, read off the compiled step: what devices exchange at a fixed share of the batch each.

    python -m benchmarks.scaling [--devices 1 2 4 8] [--length 384] [--step-seconds 0.1]

Nothing runs: the recommended preset's steps are compiled, in float32, for so many devices, simulated on the CPU, with
as many windows on each. Printed is what they say to each other: collectives by kind, bytes of gradients beside the
student's own, scalars (losses, norms, counts), and all else, which should be nothing; and the memory that XLA plans
on each beside parameters and batch (`memory_analysis`). And what that predicts for more of them: seconds of a ring's
all-reduce at two bandwidths, and the throughput that is left of as many devices' if nothing of it were hidden.
"""

import os
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any, get_args

import jax

from benchmarks.common import Shape, Stage, command, say, table
from benchmarks.hlo import find_collectives, sort_traffic
from benchmarks.machine import environment, in_process
from benchmarks.ours import example_batch, init, lower_step, networks
from tinybert_jax.errors import check
from tinybert_jax.sharding import data_mesh

Figures = dict[str, Any]
SMALL = Shape(batch=4)
BANDWIDTHS = (50, 400)  # GB/s: between hosts, and between GPUs or TPUs of one
PREDICTED = (1, 2, 4, 8, 16, 32, 64)


def compiled_figures(shape: Shape, stage: Stage) -> Figures:
    """Of the step, compiled for the devices that this process has: its memory, and what devices exchange."""
    compiled = lower_step(shape, stage, "recommended", "float32", data_mesh(), example_batch(shape, stage)).compile()
    _, student = networks(shape, "float32")
    gradients = gradient_sizes(jax.eval_shape(partial(init, student, "float32"), jax.random.key(0)), shape, stage)
    return {
        "stage": stage,
        "devices": jax.device_count(),
        "batch": shape.batch,
        "temp_bytes": compiled.memory_analysis().temp_size_in_bytes,
        "expected_bytes": sum(gradients),
        **sort_traffic(find_collectives(compiled.as_text()), gradients),
    }


def gradient_sizes(student: Any, shape: Shape, stage: Stage) -> list[int]:
    """Bytes of each gradient that is not 0 from the outset.

    Of the position table that is a batch's length of rows. And stage 1 stops below the span head.
    """

    def size(path: Any, leaf: Any) -> int:
        names = [key.key for key in path]
        if stage == 1 and "qa_outputs" in names:
            return 0
        rows = shape.length if "position_embeddings" in names else leaf.shape[0]
        return rows * leaf.size // leaf.shape[0] * leaf.dtype.itemsize

    return [bytes_ for bytes_ in jax.tree.leaves(jax.tree_util.tree_map_with_path(size, student)) if bytes_]


def both_stages(shape: Shape) -> list[Figures]:
    """What a process with more devices computes."""
    return [compiled_figures(shape, stage) for stage in get_args(Stage)]


def measure(shape: Shape, devices: Sequence[int]) -> list[Figures]:
    """The table's figures: a process for each number of devices, which jax must know when it starts."""
    rows: list[Figures] = []
    for count in devices:
        check("devices", count, count >= 1, "at least 1")
        say(f"{count} device(s)")
        # Machine code that never runs need not be good; HLO is optimised all the same.
        flags = f"--xla_force_host_platform_device_count={count} --xla_backend_optimization_level=0"
        settings = environment("cpu") | {"XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} {flags}".strip()}
        rows += in_process(settings, both_stages, replace(shape, batch=shape.batch * count))
    return sorted(rows, key=lambda row: row["stage"])


def traffic_row(row: Figures) -> dict[str, Any]:
    """What is exchanged, and what of it should not be."""
    return {
        "stage": row["stage"],
        "devices": row["devices"],
        "windows": row["batch"],
        "collectives": ", ".join(f"{count} {kind}" for kind, count in row["kinds"].items()) or "none",
        "with gradients": row["gradient_collectives"],
        "gradients, MB": f"{row['gradient_bytes'] / 1e6:.3f}",
        "of the student's, MB": f"{row['expected_bytes'] / 1e6:.3f}",
        "scalars": row["scalars"],
        "others": ", ".join(f"{other['kind']} {other['type']} {other['source']}" for other in row["others"]) or "none",
        "temporaries a device, MiB": f"{row['temp_bytes'] / 2**20:.1f}",
    }


def exchange_seconds(bytes_: int, devices: int, bandwidth: float) -> float:
    """Seconds of an all-reduce by a ring: each device sends and receives its array almost twice.

    Args:
        bytes_: of the array.
        devices: how many have one.
        bandwidth: of the slowest link, in bytes a second each way.
    """
    return 2 * (devices - 1) / devices * bytes_ / bandwidth


def prediction_row(row: Figures, devices: int, step_seconds: float) -> dict[str, Any]:
    """What the gradients of a compiled step cost on so many devices, with as many windows on each."""
    shown: dict[str, Any] = {"stage": row["stage"], "devices": devices}
    for bandwidth in BANDWIDTHS:
        seconds = exchange_seconds(row["gradient_bytes"] or row["expected_bytes"], devices, bandwidth * 1e9)
        shown[f"ms at {bandwidth} GB/s"] = f"{1e3 * seconds:.1f}"
        shown[f"throughput left at {bandwidth} GB/s"] = f"{step_seconds / (step_seconds + seconds):.1%}"
    return shown


def main(shape: Shape = SMALL, devices: tuple[int, ...] = (1, 2, 4, 8), step_seconds: float = 0.1) -> None:
    """Compiles and prints; the batch is each device's, and so are the seconds of a step's computation."""
    rows = measure(shape, devices)
    print(f"jax {jax.__version__}; on each device: {shape}\n\n{table([traffic_row(row) for row in rows])}\n")
    largest = [row for row in rows if row["devices"] == max(devices)]
    predicted = [prediction_row(row, count, step_seconds) for row in largest for count in PREDICTED]
    print(f"Predicted, for steps that compute for {step_seconds} s:\n\n{table(predicted)}")


if __name__ == "__main__":
    command(main, __doc__)

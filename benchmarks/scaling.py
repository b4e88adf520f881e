"""How the stage-1 step grows: with length, batch and layers on one device, and over devices at a fixed share of each.

    python benchmarks/scaling.py [--no-measure] [--preset recommended] [--dtype float32] [--output FILE]

The first table varies length, batch and layers (the teacher's with the student's), each alone: the memory XLA plans
beside parameters and batch (`memory_analysis`), and the median time of a step (in brackets the least and the most);
with --no-measure the steps are compiled only. Rows are measured one after the other, so that on a machine with other
work their times compare poorly. Position tables are made as long as a length needs.

The second is weak scaling: the step compiled for 1, 2, 4 and 8 devices, simulated on the CPU, with as many windows on
each, and what its devices say to each other: collectives by kind, bytes of gradients beside the student's own, scalars
(losses, norms, counts), and all else, which should be nothing. Nothing runs there: simulated devices share one CPU, so
their times would say nothing.
"""

import argparse
import dataclasses
import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import jax
import jax.numpy as jnp
from collectives import find_collectives, sort_traffic
from common import DROPOUT, Job, Shape, make_workload, random_windows, step_flops
from jax.sharding import NamedSharding, PartitionSpec
from ours import Ours, networks, objective_of
from worker import environment

from tinybert_jax.data import Batch
from tinybert_jax.distill import OptimizerConfig, TrainState, make_optimizer, make_train_step
from tinybert_jax.errors import UserError, run_script
from tinybert_jax.model import init_params
from tinybert_jax.run.presets import PRESETS
from tinybert_jax.run.runtime import keep_freed_memory
from tinybert_jax.sharding import data_mesh
from tinybert_jax.store.files import write_json

Figures = dict[str, Any]
LENGTHS = (128, 256, 384, 512, 1024, 2048)
SIZES = ("layers_teacher", "layers_student", "hidden", "heads", "intermediate", "batch", "length", "vocab")
VARIED = {"lengths": LENGTHS, "batches": (1, 2, 4, 8, 16), "layers": (2, 4, 6, 12)}


def example_batch(shape: Shape, job: Job) -> Batch:
    """A full batch of random tokens; with a teacher's logits where the step reads them."""
    (batch,) = make_workload(random_windows(shape, least=shape.batch), shape, False).batches[shape.length]
    return batch if job.cached else batch._replace(teacher_logits=None)


def compile_step(shape: Shape, job: Job, preset: str, dtype: str) -> tuple[Any, tuple[Any, Any]]:
    """The step as train.py has it, compiled over all devices; and the shapes of the teacher's and student's parameters.

    From shapes alone: parameters are never allocated, so that they need not fit the machine.
    """
    models, mesh = networks(shape, dtype, DROPOUT), data_mesh()
    key = jax.eval_shape(lambda: jax.random.key(0))
    theirs, ours = (jax.eval_shape(partial(init_params, model), key) for model in models)
    optimizer = make_optimizer(OptimizerConfig(warmup=0.2, rule=PRESETS[preset].rule), steps=100_000)

    def start(params: Any) -> TrainState:
        trained = {"model": params, "projection": {}}
        return TrainState(jnp.int32(0), trained, optimizer.init(trained))

    def place(tree: Any, *axes: str) -> Any:
        sharding = NamedSharding(mesh, PartitionSpec(*axes))
        return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), tree)

    teacher, taught = (None, None) if job.cached else (models[0], place(theirs))
    step: Any = make_train_step(models[1], teacher, objective_of(preset, job, DROPOUT), optimizer)
    batch = place(example_batch(shape, job), "data")
    return step.lower(place(jax.eval_shape(start, ours)), taught, batch, key).compile(), (theirs, ours)


def measure_shape(shape: Shape, args: argparse.Namespace) -> Figures:
    """Memory of the step at these sizes, and with args.measure its time."""
    begin = time.perf_counter()
    compiled, _ = compile_step(shape, Job(1), args.preset, args.dtype)
    figures: Figures = {"compile_seconds": time.perf_counter() - begin}
    figures["temp_bytes"] = compiled.memory_analysis().temp_size_in_bytes
    if not args.measure:
        return figures
    runner = Ours(shape, Job(1), args.preset, args.dtype)
    runner.compiled[shape.length] = compiled
    batch, seconds = example_batch(shape, Job(1)), []
    for _ in range(1 + args.rounds):  # the first warms up
        begin = time.perf_counter()
        for _ in range(args.steps):
            runner.step(batch)
        runner.finish()
        seconds.append((time.perf_counter() - begin) / args.steps)
    return figures | {"seconds": seconds[1:], "flops": step_flops(shape, Job(1), shape.length)}


def grow(args: argparse.Namespace) -> list[Figures]:
    """The first table's figures, row by row."""
    ratio = args.shape.layers_teacher // args.shape.layers_student
    varied = [("length", t, replace(args.shape, length=t)) for t in args.lengths]
    varied += [("batch", b, replace(args.shape, batch=b)) for b in args.batches]
    deeper = {n: replace(args.shape, layers_student=n, layers_teacher=ratio * n) for n in args.layers}
    varied += [("student's layers", n, shape) for n, shape in deeper.items()]
    known: dict[Shape, Figures] = {}
    rows = []
    for name, value, shape in varied:
        if shape not in known:
            print(f"{name} {value}", file=sys.stderr, flush=True)
            known[shape] = measure_shape(shape, args)
        rows.append({"varied": name, "value": value, "shape": dataclasses.asdict(shape), **known[shape]})
    return rows


def growth_table(rows: list[Figures]) -> str:
    """Markdown; growth is against the first value of the same kind."""
    columns = (
        "varied",
        "value",
        "temporaries, MiB",
        "growth",
        "s a step",
        "growth",
        "windows/s",
        "GFLOP/s",
        "compile, s",
    )
    lines = [f"| {' | '.join(columns)} |", "| --- " * len(columns) + "|"]
    first: dict[str, Figures] = {}
    for row in rows:
        base = first.setdefault(row["varied"], row)
        cells = [f"{row['temp_bytes'] / 2**20:.1f}", f"{row['temp_bytes'] / base['temp_bytes']:.1f}×"]
        if "seconds" in row:
            least, middle, most = min(row["seconds"]), median(row["seconds"]), max(row["seconds"])
            cells += [f"{middle:.3g} ({least:.3g}–{most:.3g})", f"{middle / median(base['seconds']):.1f}×"]
            cells += [f"{row['shape']['batch'] / middle:.3g}", f"{row['flops'] / middle / 1e9:.3g}"]
        else:
            cells += ["–"] * 4
        lines.append(f"| {row['varied']} | {row['value']} | {' | '.join(cells)} | {row['compile_seconds']:.1f} |")
    return "\n".join(lines)


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


def traffic(shape: Shape, job: Job, preset: str, dtype: str) -> Figures:
    """A stage's step, compiled for the devices that this process has."""
    compiled, (theirs, ours) = compile_step(shape, job, preset, dtype)
    gradients = gradient_sizes(ours, shape, job)
    return {
        "devices": jax.device_count(),
        "stage": job.stage,
        "batch": shape.batch,
        "expected_bytes": sum(gradients),
        "teacher_bytes": sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(theirs)),
        "temp_bytes": compiled.memory_analysis().temp_size_in_bytes,
        "flops": compiled.cost_analysis().get("flops", 0.0),
        **sort_traffic(find_collectives(compiled.as_text()), gradients)._asdict(),
    }


def work(spec: dict[str, Any]) -> None:
    """A worker: prints both stages' figures as JSON."""
    shape, rest = Shape(**spec["shape"]), (spec["preset"], spec["dtype"])
    print(json.dumps([traffic(shape, job, *rest) for job in (Job(1), Job(2, cached=True))]))


def spread(args: argparse.Namespace) -> list[Figures]:
    """The second table's figures: a process for each number of devices, which jax must know when it starts."""
    rows: list[Figures] = []
    for devices in args.devices:
        print(f"{devices} device(s)", file=sys.stderr, flush=True)
        shape = dataclasses.asdict(replace(args.shape, batch=args.batch_per_device * devices))
        spec = {"shape": shape, "preset": args.preset, "dtype": args.dtype}
        # Machine code that never runs need not be good; HLO is optimised all the same.
        flags = f"--xla_force_host_platform_device_count={devices} --xla_backend_optimization_level=0"
        env = environment("cpu") | {"XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} {flags}".strip()}
        command = [sys.executable, __file__, "--worker", json.dumps(spec)]
        rows += json.loads(subprocess.run(command, env=env, stdout=subprocess.PIPE, text=True, check=True).stdout)
    return sorted(rows, key=lambda row: row["stage"])


def traffic_table(rows: list[Figures]) -> str:
    """Markdown, and a verdict."""
    columns = ("stage", "devices", "windows", "collectives", "with gradients", "gradients, MB", "of the student's, MB")
    columns += ("scalars", "other bytes", "temporaries a device, MiB", "GFLOP a device")
    lines = [f"| {' | '.join(columns)} |", "| --- " * len(columns) + "|"]
    for row in rows:
        kinds = ", ".join(f"{count} {kind}" for kind, count in row["kinds"].items()) or "none"
        cells = (row["stage"], row["devices"], row["batch"], kinds, row["gradient_collectives"])
        megabytes = (f"{row[name] / 1e6:.3f}" for name in ("gradient_bytes", "expected_bytes"))
        others = sum(other["bytes"] for other in row["others"])
        memory = (f"{row['temp_bytes'] / 2**20:.1f}", f"{row['flops'] / 1e9:.3g}")
        lines.append("| " + " | ".join(map(str, (*cells, *megabytes, row["scalars"], others, *memory))) + " |")
    return "\n".join([*lines, "", *map(verdict, [row for row in rows if row["devices"] > 1])])


def verdict(row: Figures) -> str:
    """Whether the devices say what data parallelism needs, and no more."""
    name = f"- stage {row['stage']}, {row['devices']} devices:"
    missing = row["expected_bytes"] - row["gradient_bytes"]
    if not missing and not row["others"]:
        return (
            f"{name} every gradient once and {row['scalars']} scalars, nothing else; the largest collective carries "
            f"{row['largest'] / 1e6:.3f} MB, the teacher has {row['teacher_bytes'] / 1e6:.3f} MB."
        )
    others = "; ".join(f"{one['kind']} of {one['type']} ({one['bytes']} B, {one['source']})" for one in row["others"])
    gradients = f"{missing} bytes of gradients missing" if missing else "every gradient once"
    return f"{name} {gradients}; besides {row['scalars']} scalars: {others or 'nothing'}."


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    defaults = dataclasses.asdict(Shape(batch=4))
    for name in SIZES:
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=defaults[name])
    for name, values in VARIED.items():
        parser.add_argument(f"--{name}", type=int, nargs="*", default=values)
    parser.add_argument("--devices", type=int, nargs="*", default=(1, 2, 4, 8), help="simulated; none leaves them out")
    parser.add_argument("--batch-per-device", type=int, default=4)
    parser.add_argument("--preset", choices=("recommended", "haystack"), default="recommended")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--measure", action=argparse.BooleanOptionalAction, default=True, help="run the steps too")
    parser.add_argument("--rounds", type=int, default=3, help="times that a step is measured")
    parser.add_argument("--steps", type=int, default=1, help="steps in a round")
    parser.add_argument("--output", type=Path, help="write every figure as JSON")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    args = parser.parse_args()
    for name in ("batch_per_device", "rounds", "steps", "devices", *VARIED):
        values = getattr(args, name)
        if (least := values if isinstance(values, int) else min(values, default=1)) < 1:
            raise UserError(f"{name} must be at least 1, got {least}")
    args.shape = Shape(**{name: getattr(args, name) for name in SIZES})
    return args


def main() -> None:
    """Compiles, measures and prints."""
    args = parse()
    if args.worker:
        work(json.loads(args.worker))
        return
    keep_freed_memory()
    rows = grow(args)
    sizes = ", ".join(f"{name} {value}" for name, value in dataclasses.asdict(args.shape).items())
    print(f"Stage 1, preset {args.preset}, {args.dtype}, on {jax.devices()[0].device_kind}; unless varied: {sizes}\n")
    if rows:
        print(growth_table(rows))
    over_devices = spread(args)
    if over_devices:
        print(f"\n{traffic_table(over_devices)}")
    if args.output:
        settings = {name: str(value) for name, value in vars(args).items()}
        write_json(args.output, {"settings": settings, "growth": rows, "devices": over_devices})


if __name__ == "__main__":
    run_script(main)

"""What XLA makes of a training step for a GPU that need not be there: its memory, its traffic, its least time.

    pip install 'jax[cuda12]' && python benchmarks/compiled.py [--stage 1|2] [--length 384] [--batch 26] [--lines 20]

Compiles the step ahead of time for an H100, by its description, without one. Printed: the memory that the program
plans; its kernels by kind and by part of the step, with the least time they can take, that of the products at the peak
that H100s were measured to reach or that of the bytes at their measured bandwidth, whichever is the longer; and the
share of the peak that this leaves. It bounds what a run can reach, and shows which bytes to save. It is no
measurement: launches, products that do not reach the peak, and what a cache saves are not in it, nor has XLA tried out
products on the device as it does where there is one.
"""

import argparse
import dataclasses
import os
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

os.environ["JAX_SKIP_CUDA_CONSTRAINTS_CHECK"] = "1"  # the plugin otherwise asks a driver for its version

import jax
import jax.numpy as jnp
from common import DROPOUT, Job, Shape, make_workload, random_windows, step_flops
from jax.experimental import topologies
from jax.sharding import NamedSharding, PartitionSpec
from kernels import Kernel, find_kernels
from ours import networks, objective_of
from tables import markdown

from tinybert_jax.distill import OptimizerConfig, TrainState, make_optimizer, make_train_step
from tinybert_jax.errors import UserError, run_script
from tinybert_jax.model import freeze, init_params
from tinybert_jax.model.ops.platform import GPU
from tinybert_jax.run.presets import PRESETS

H100 = """
gpu_device_info {
  threads_per_block_limit: 1024 threads_per_warp: 32 threads_per_core_limit: 2048
  block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
  shared_memory_per_block: 49152 shared_memory_per_block_optin: 232448 shared_memory_per_core: 233472
  registers_per_core_limit: 65536 registers_per_block_limit: 65536
  core_count: 132 fpus_per_core: 128 clock_rate_ghz: 1.98
  memory_bandwidth: 3352320000000 l2_cache_size: 52428800 device_memory_size: 84929347584
  cuda_compute_capability { major: 9 feature_extension: ACCELERATED_FEATURES }
}
platform_name: "CUDA" device_description_str: "NVIDIA H100 80GB HBM3"
dnn_version_info { major: 9 minor: 7 } runtime_version { major: 12 minor: 8 }
"""
PEAK, BANDWIDTH = 798e12, 3.0e12  # bfloat16 FLOP/s and bytes/s, as measured on H100s
# The parts of the step, by what the names of their operations hold; the first that fits.
PARTS = (
    ("Gram loss", "bnth"),
    ("attention", r"attention/self/(?!self\.dense)"),
    ("queries, keys, values", r"self\.dense"),
    ("feed-forward", r"intermediate|layer/\d+/output/output\.dense"),
    ("attention's output", r"attention/output/output\.dense"),
    ("LayerNorm, dropout, residuals", r"layer_norm|drop"),
    ("embeddings", "embeddings"),
)


@contextmanager
def as_if_on_a_gpu() -> Iterator[None]:
    """JAX finds the cuDNN of a GPU."""
    from jax._src.cudnn import fused_attention_stablehlo as fused

    with ExitStack() as stack:
        stack.enter_context(mock.patch.object(fused, "check_cudnn_version", lambda: 91000))
        stack.enter_context(mock.patch.object(fused, "check_compute_capability", lambda _: True))
        yield


def compile_step(shape: Shape, job: Job, preset: str, dtype: str) -> Any:
    """The step of `ours.Ours`, compiled from shapes alone.

    Raises:
        UserError: JAX's CUDA plugin is not installed.
    """
    try:
        topology = topologies.get_topology_desc(platform="cuda", target_config=H100, topology="1x1x1")
    except NotImplementedError as error:
        raise UserError(f"jax {jax.__version__} has no CUDA plugin: pip install 'jax[cuda12]'") from error
    place = NamedSharding(topologies.make_mesh(topology, (1,), ("data",)), PartitionSpec())

    def described(make: Callable[..., Any], *args: Any) -> Any:
        shapes = jax.eval_shape(make, *args)
        return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place), shapes)

    key = described(lambda: jax.random.key(0))
    teacher, student = networks(shape, dtype, DROPOUT)
    optimizer = make_optimizer(OptimizerConfig(warmup=0.2, rule=PRESETS[preset].rule), steps=100_000)
    trained = {"model": described(lambda key: init_params(student, key), key), "projection": {}}
    state = TrainState(described(lambda: jnp.int32(0)), trained, described(optimizer.init, trained))
    frozen = None if job.cached else described(lambda key: freeze(init_params(teacher, key), dtype), key)
    windows = random_windows(shape, least=shape.batch)
    (batch,) = (some[0] for some in make_workload(windows, shape, bucketed=False).batches.values())
    batch = described(lambda: batch if job.cached else batch._replace(teacher_logits=None))
    with as_if_on_a_gpu():
        objective = objective_of(preset, job, DROPOUT)
        step: Any = make_train_step(student, None if job.cached else teacher, objective, optimizer, GPU)
        return step.lower(state, frozen, batch, key).compile()


def part_of(kernel: Kernel) -> str:
    """The part of the step that a kernel belongs to; losses, optimiser and the rest are "other"."""
    return next((part for part, pattern in PARTS if re.search(pattern, kernel.source)), "other")


def table(kernels: list[Kernel], name: str, group: Callable[[Kernel], str]) -> str:
    """Markdown: launches, traffic, products and least time of each group, the longest first."""
    groups: dict[str, list[Kernel]] = {}
    for kernel in kernels:
        groups.setdefault(group(kernel), []).append(kernel)

    def row(label: str, some: list[Kernel]) -> tuple[str, ...]:
        moved, flops = (sum(one.launches * getattr(one, what) for one in some) for what in ("bytes", "flops"))
        launches, least = sum(one.launches for one in some), sum(one.seconds(PEAK, BANDWIDTH) for one in some)
        return label, f"{least * 1e3:.2f}", str(launches), f"{moved / 1e9:.2f}", f"{flops / 1e12:.2f}"

    rows = sorted((row(*item) for item in groups.items()), key=lambda cells: -float(cells[1]))
    columns = (name, "least ms", "launches", "GB", "TFLOP")
    return "\n".join(markdown(columns, [*rows, row("all", kernels)]))


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    Shape.add_flags(parser)
    parser.add_argument("--stage", type=int, choices=(1, 2), default=1)
    parser.add_argument("--cached", action="store_true", help="the teacher's logits come with the batch")
    parser.add_argument("--preset", choices=("recommended", "haystack"), default="recommended")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="bfloat16")
    parser.add_argument("--lines", type=int, default=0, help="also list so many kernels, the longest first")
    return parser.parse_args()


def main() -> None:
    """Compiles and prints."""
    args = parse()
    shape = Shape.of(args)
    job = Job(args.stage, args.cached)
    compiled = compile_step(shape, job, args.preset, args.dtype)
    memory, kernels = compiled.memory_analysis(), find_kernels(compiled.as_text())
    given, temporaries = memory.argument_size_in_bytes, memory.temp_size_in_bytes
    least, flops = sum(one.seconds(PEAK, BANDWIDTH) for one in kernels), step_flops(shape, job, shape.length)
    print(f"- {job.title}; {args.preset}, {args.dtype}; {dataclasses.asdict(shape)}")
    print(f"- Memory: {given / 2**20:.0f} MiB of state and batch, {temporaries / 2**20:.0f} MiB of temporaries.")
    print(f"- At least {least * 1e3:.2f} ms a step, so at most {flops / least / PEAK:.0%} of the products' peak.\n")
    print(f"{table(kernels, 'kind', lambda one: one.kind)}\n\n{table(kernels, 'part', part_of)}")
    for one in sorted(kernels, key=lambda one: -one.seconds(PEAK, BANDWIDTH))[: args.lines]:
        print(f"{one.seconds(PEAK, BANDWIDTH) * 1e6:7.0f} us, {one.launches} × {one.bytes / 1e6:.1f} MB: {one.source}")


if __name__ == "__main__":
    run_script(main)

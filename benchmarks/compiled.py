"""What XLA makes of a training step for a GPU that need not be there: its memory, its traffic, its least time.

    pip install 'jax[cuda12]' && python -m benchmarks.compiled [--stage 1|2] [--length 384] [--batch 26] [--lines 20]

Compiles the step ahead of time for an H100, by its description, without one. Printed: the memory that the program
plans; its kernels by kind and by part of the step, with the least time they can take, that of the products at the peak
that H100s were measured to reach or that of the bytes at their measured bandwidth, whichever is the longer; and the
share of the peak that this leaves. It bounds what a run can reach, and shows which bytes to save. It is no
measurement: launches, products that do not reach the peak, and what a cache saves are not in it, nor has XLA tried out
products on the device as it does where there is one.
"""

import os
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Literal
from unittest import mock

os.environ["JAX_SKIP_CUDA_CONSTRAINTS_CHECK"] = "1"  # the plugin otherwise asks a driver for its version

import jax
from jax.experimental import topologies

from benchmarks.common import BASE, Job, PresetName, Shape, Sizes, command, step_flops, table
from benchmarks.hlo import Kernel, find_kernels
from benchmarks.ours import example_batch, lower_step
from tinybert_jax.errors import UserError
from tinybert_jax.model.config import Dtype

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
PARTS = {
    "Gram loss": "bnth",
    "attention": r"attention/self/(?!self\.dense)",
    "queries, keys, values": r"self\.dense",
    "feed-forward": r"intermediate|layer/\d+/output/output\.dense",
    "attention's output": r"attention/output/output\.dense",
    "LayerNorm, dropout, residuals": r"layer_norm|drop",
    "embeddings": "embeddings",
}


@dataclass(frozen=True)
class Args:
    """The command line."""

    shape: Sizes = BASE
    stage: Literal[1, 2] = 1
    cached: bool = False  # the teacher's logits come with the batch
    preset: PresetName = "recommended"
    dtype: Dtype = "bfloat16"
    lines: int = 0  # also list so many kernels, the longest first


@contextmanager
def as_if_on_a_gpu() -> Iterator[None]:
    """JAX finds the cuDNN of a GPU."""
    from jax._src.cudnn import fused_attention_stablehlo as fused

    with ExitStack() as stack:
        stack.enter_context(mock.patch.object(fused, "check_cudnn_version", lambda: 91000))
        stack.enter_context(mock.patch.object(fused, "check_compute_capability", lambda _: True))
        yield


def compile_for_gpu(shape: Shape, job: Job, preset: PresetName, dtype: str) -> Any:
    """The step, compiled for one H100.

    Raises:
        UserError: JAX's CUDA plugin is not installed.
    """
    try:
        topology = topologies.get_topology_desc(platform="cuda", target_config=H100, topology="1x1x1")
    except NotImplementedError as error:
        raise UserError(f"jax {jax.__version__} has no CUDA plugin: pip install 'jax[cuda12]'") from error
    mesh = topologies.make_mesh(topology, (1,), ("data",))
    with as_if_on_a_gpu():
        return lower_step(shape, job, preset, dtype, mesh, example_batch(shape, job)).compile()


def part_of(kernel: Kernel) -> str:
    """The part of the step that a kernel belongs to; losses, optimiser and the rest are "other"."""
    return next((part for part, pattern in PARTS.items() if re.search(pattern, kernel.source)), "other")


def grouped(kernels: list[Kernel], name: str, group: Callable[[Kernel], str]) -> str:
    """Markdown: launches, traffic, products and least time of each group, the longest first, and of all."""
    groups: dict[str, list[Kernel]] = {}
    for kernel in kernels:
        groups.setdefault(group(kernel), []).append(kernel)
    ordered = sorted(groups.items(), key=lambda item: -sum(one.seconds(PEAK, BANDWIDTH) for one in item[1]))
    return table(
        [
            {
                name: label,
                "least ms": f"{sum(one.seconds(PEAK, BANDWIDTH) for one in some) * 1e3:.2f}",
                "launches": sum(one.launches for one in some),
                "GB": f"{sum(one.launches * one.bytes for one in some) / 1e9:.2f}",
                "TFLOP": f"{sum(one.launches * one.flops for one in some) / 1e12:.2f}",
            }
            for label, some in [*ordered, ("all", kernels)]
        ]
    )


def main(args: Args) -> None:
    """Compiles and prints."""
    shape, job = args.shape, Job(args.stage, args.cached)
    program = compile_for_gpu(shape, job, args.preset, args.dtype)
    memory, kernels = program.memory_analysis(), find_kernels(program.as_text())
    given, temporaries = memory.argument_size_in_bytes, memory.temp_size_in_bytes
    least, flops = sum(one.seconds(PEAK, BANDWIDTH) for one in kernels), step_flops(shape, job, shape.length)
    print(f"- {job.title}; {args.preset}, {args.dtype}; {shape}")
    print(f"- Memory: {given / 2**20:.0f} MiB of state and batch, {temporaries / 2**20:.0f} MiB of temporaries.")
    print(f"- At least {least * 1e3:.2f} ms a step, so at most {flops / least / PEAK:.0%} of the products' peak.\n")
    print(f"{grouped(kernels, 'kind', lambda one: one.kind)}\n\n{grouped(kernels, 'part', part_of)}")
    for one in sorted(kernels, key=lambda one: -one.seconds(PEAK, BANDWIDTH))[: args.lines]:
        print(f"{one.seconds(PEAK, BANDWIDTH) * 1e6:7.0f} us, {one.launches} × {one.bytes / 1e6:.1f} MB: {one.source}")


if __name__ == "__main__":
    command("compiled", Args, main, __doc__)

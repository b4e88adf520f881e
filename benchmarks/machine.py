"""The machine that a benchmark runs on: its processes, its memory, and how fast it multiplies matrices."""

import ctypes
import os
import platform
import resource
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any
from unittest import mock

from benchmarks.common import Device, seconds_of
from tinybert_jax.run.runtime import keep_freed_memory


def environment(device: Device) -> dict[str, str]:
    """A worker's: one device, memory allocated as it is needed, nothing compiled in an earlier run."""
    return {
        # OpenMP's threads spin by default, and PyTorch's then keep a processor busy waiting for a thread that has none:
        # with a single other process on two processors, C's steps took ten times as long.
        "OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY", "passive"),
        "JAX_ENABLE_COMPILATION_CACHE": "false",
        "JAX_PLATFORMS": "cpu" if device == "cpu" else "",
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
        "CUDA_VISIBLE_DEVICES": os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0],
    }


def new_process() -> ProcessPoolExecutor:
    """A process of its own, whose peak of memory is that of what runs in it; started when it is first used."""
    return ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=keep_freed_memory)


def in_process(settings: dict[str, str], function: Callable[..., Any], *args: Any) -> Any:
    """Calls a function in a new process with these environment variables, which jax reads as it starts."""
    with mock.patch.dict(os.environ, settings), new_process() as process:
        return process.submit(function, *args).result()


def matmul_peak(products: dict[str, Callable[[], Any]], size: int) -> dict[str, float]:
    """FLOP/s of square products of a size, by type: the best of five, or of fewer where these take ten seconds."""
    peaks = {}
    for dtype, product in products.items():
        seconds = [seconds_of(product)]
        while len(seconds) <= 5 and sum(seconds) < 10:
            seconds.append(seconds_of(product))
        peaks[dtype] = 2 * size**3 / min(seconds[1:] or seconds)
    return peaks


def peak_bytes() -> int:
    """The most memory that the process has held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def give_freed_memory_back() -> None:
    """Undoes `keep_freed_memory` for what is free now: other processes need it while this one waits."""
    time.sleep(0.2)  # XLA frees a step's temporaries a moment after its results are there
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)

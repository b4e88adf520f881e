"""One process of the step benchmark: a system set up, which runs steps when it is told to.

Orders come as one JSON line each on the standard input, answers go likewise to the standard output. The first answer
comes unasked, when everything is compiled.
"""

import ctypes
import json
import os
import pickle
import platform
import resource
import sys
import time
from collections.abc import Callable
from itertools import cycle
from pathlib import Path
from subprocess import PIPE, Popen
from typing import Any

from common import SYSTEMS, Device, Job, Runner, Shape, Workload

from tinybert_jax.errors import UserError, run_script
from tinybert_jax.run.runtime import keep_freed_memory

Answer = Callable[[dict[str, Any]], None]


class WorkerDied(Exception):
    """A worker ended before it was told to."""


class Worker:
    """The other end: starts a process and gives it orders."""

    def __init__(self, spec: dict[str, Any], device: Device):
        command = [sys.executable, __file__, json.dumps(spec)]
        self.process = Popen(command, stdin=PIPE, stdout=PIPE, text=True, env=environment(device))
        self.orders, self.answers = self.process.stdin, self.process.stdout

    def answer(self) -> dict[str, Any]:
        """The next one.

        Raises:
            UserError: the worker says that the input is at fault.
            WorkerDied: there is none.
        """
        assert self.answers is not None
        line = self.answers.readline()
        if not line:
            raise WorkerDied(f"ended with status {self.process.wait()}")
        content = json.loads(line)
        if "error" in content:
            raise UserError(content["error"])
        return content

    def ask(self, **order: Any) -> dict[str, Any]:
        """Sends an order and waits for its answer."""
        try:
            print(json.dumps(order), file=self.orders, flush=True)
        except BrokenPipeError:
            raise WorkerDied(f"ended with status {self.process.wait()}") from None
        return self.answer()

    def close(self) -> None:
        """Ends it."""
        self.process.kill()
        self.process.communicate()


def environment(device: Device) -> dict[str, str]:
    """A worker's: one device, memory allocated as it is needed, nothing compiled in an earlier run."""
    settings = {
        # OpenMP's threads spin by default, and PyTorch's then keep a processor busy waiting for a thread that has none:
        # with a single other process on two processors, C's steps took ten times as long.
        "OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY", "passive"),
        "JAX_ENABLE_COMPILATION_CACHE": "false",
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
        "CUDA_VISIBLE_DEVICES": os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0],
    }
    inherited = {name: value for name, value in os.environ.items() if name != "JAX_PLATFORMS"}
    return inherited | settings | ({"JAX_PLATFORMS": "cpu"} if device == "cpu" else {})


def allocator() -> str:
    """What serves the process's memory on a CPU."""
    if preloaded := os.environ.get("LD_PRELOAD"):
        return f"{preloaded} (preloaded)"
    if platform.libc_ver()[0] == "glibc":
        return "glibc's malloc, keeping what is freed (tinybert_jax.run.runtime)"
    return "the system's, as it is"


def require_device(framework: str, device: Device) -> str:
    """Names the device and the framework's version.

    Raises:
        UserError: the framework sees no GPU, and one is asked for.
    """
    if framework == "torch":
        import torch

        if device == "gpu" and not torch.cuda.is_available():
            raise UserError(f"--device gpu needs a GPU, and PyTorch {torch.__version__} sees none: use --device cpu")
        name = torch.cuda.get_device_name() if device == "gpu" else f"{torch.get_num_threads()} threads"
        return f"PyTorch {torch.__version__}, {name}"
    import jax

    try:
        found = jax.devices(device)[0]
    except RuntimeError as error:
        raise UserError(f"--device gpu needs a GPU, and jax {jax.__version__} sees none: use --device cpu") from error
    return f"jax {jax.__version__}, {found.device_kind if device == 'gpu' else f'{os.cpu_count()} processors'}"


def make_runner(system: str, shape: Shape, job: Job, device: Device, compile: bool, half: bool) -> Runner:
    """Sets a system up."""
    if SYSTEMS[system].framework == "jax":
        from ours import Ours

        _, preset, dtype = system.split("-")
        return Ours(shape, job, preset, dtype)
    from peers import Haystack, Tuned

    if system == "C":
        return Tuned(shape, job, device, compile=compile, half=half)
    return Haystack(shape, job, device, autocast=system == "B")


def peak_bytes() -> int:
    """The most memory that the process has held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def give_freed_memory_back() -> None:
    """Undoes `keep_freed_memory` for what is free now: the other workers need it while this one waits."""
    time.sleep(0.2)  # XLA frees a step's temporaries a moment after its results are there
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)


def seconds_waited() -> float:
    """How long the process's threads, together, have been ready to run and had no processor; 0 where unknown."""
    return sum(int(path.read_text().split()[1]) for path in Path("/proc/self/task").glob("*/schedstat")) / 1e9


def probe(framework: str, device: Device, size: int, answer: Answer) -> None:
    """Answers each order, and once unasked, with the device's name and its rates at large matrix products."""
    name = require_device(framework, device)
    if framework == "torch":
        from peers import matmul_peak
    else:
        from ours import matmul_peak
    answer({"device": name, "allocator": allocator(), "peaks": matmul_peak(size, device)})
    for _ in sys.stdin:
        answer({"peaks": matmul_peak(size, device)})


def serve(spec: dict[str, Any], answer: Answer) -> None:
    """Sets a system up, warms it, and takes orders until they end: a round's untimed and timed steps of each length."""
    system, device, job = spec["system"], spec["device"], Job(**spec["job"])
    require_device(SYSTEMS[system].framework, device)
    workload: Workload = pickle.loads(Path(spec["workload"]).read_bytes())
    begin_bytes = peak_bytes()
    runner = make_runner(system, Shape(**spec["shape"]), job, device, spec["compile"], spec["half"])
    batches = {length: cycle(map(runner.prepare, some)) for length, some in workload.batches.items()}

    def timed(length: int, steps: int) -> dict[str, Any]:
        waited, begin = seconds_waited(), time.perf_counter()
        for _ in range(steps):
            runner.step(next(batches[length]))
        loss = runner.finish()
        seconds = time.perf_counter() - begin
        figures = {"seconds": seconds / steps, "loss": loss, "waited": (seconds_waited() - waited) / seconds}
        memory = runner.device_memory()
        return figures | {"bytes": peak_bytes() - begin_bytes if memory is None else memory}

    first_seconds = sum(timed(length, 1)["seconds"] for length in batches)
    give_freed_memory_back()
    answer({"first_seconds": first_seconds, "facts": runner.facts})
    for line in sys.stdin:
        order = json.loads(line)
        for length in batches:
            timed(length, order["warmup"])
        figures = {str(length): timed(length, order["steps"]) for length in batches}
        give_freed_memory_back()
        answer(figures)


def main(argument: str) -> None:
    """Runs what `argument`, JSON, describes: `serve`, or `probe` where it names a framework."""
    keep_freed_memory()
    # What libraries print must not end up among the answers.
    answers, sys.stdout = sys.stdout, sys.stderr

    def answer(content: dict[str, Any]) -> None:
        print(json.dumps(content), file=answers, flush=True)

    spec = json.loads(argument)
    try:
        if "framework" in spec:
            probe(**spec, answer=answer)
        else:
            serve(spec, answer)
    except UserError as error:
        answer({"error": str(error)})


if __name__ == "__main__":
    run_script(lambda: main(sys.argv[1]))

"""Commands as users type them, each in a process of its own that has its libraries already.

Importing jax, orbax and transformers takes a process four seconds, more than most of the tests' commands take for their
work. A server imports them once and forks a process for each command, which imports this package's modules itself.
"""

import os
import runpy
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path

import jax

LIBRARIES = [
    "flax.linen",
    "jaxtyping",
    "optax",
    "orbax.checkpoint",
    "scipy.stats",
    "transformers.models.bert.tokenization_bert",
    "tyro",
]

_CONTEXT = get_context("forkserver")
_CONTEXT.set_forkserver_preload(LIBRARIES)


def start(words: Sequence[str], folder: Path, printed: Path) -> BaseProcess:
    """Begins `python WORDS` in `folder`, in this environment; what it prints goes to files out and err in `printed`."""
    process = _CONTEXT.Process(target=_become, args=([*map(str, words)], folder, printed, dict(os.environ)))
    process.start()
    return process


def run(words: Sequence[str], folder: Path, timeout: float = 900) -> subprocess.CompletedProcess[str]:
    """Runs `python WORDS` in `folder`, as `subprocess.run` would."""
    with tempfile.TemporaryDirectory() as printed:
        process = start(words, folder, Path(printed))
        process.join(timeout)
        said = [(Path(printed) / name).read_text() for name in ("out", "err")]
        if process.exitcode is None:
            process.kill()
            raise subprocess.TimeoutExpired(words, timeout, *said)
    return subprocess.CompletedProcess(words, process.exitcode, *said)


def _become(words: list[str], folder: Path, printed: Path, environment: dict[str, str]) -> None:
    """Does here what `python WORDS` does in a process of its own."""
    for name, stream in (("out", sys.stdout), ("err", sys.stderr)):
        with (printed / name).open("w") as file:
            os.dup2(file.fileno(), stream.fileno())
    os.environ.clear()
    os.environ.update(environment)
    # JAX has read the environment that the server was started in, which a fixture may have changed since.
    jax.config.update("jax_disable_most_optimizations", environment.get("JAX_DISABLE_MOST_OPTIMIZATIONS") == "true")
    os.chdir(folder)
    first, *sys.argv = words
    if first == "-m":
        sys.path.insert(0, str(folder))
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
    elif first == "-c":
        code, sys.argv[0] = sys.argv[0], "-c"
        sys.path.insert(0, "")
        exec(code, {"__name__": "__main__"})
    else:
        sys.argv = words
        sys.path.insert(0, str(Path(first).resolve().parent))
        runpy.run_path(first, run_name="__main__")

"""How a script sets up what it runs on, in one place: compiled programs are kept, XLA's flags, memory."""

import ctypes
import glob
import os
import platform
import re
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

import jax

from tinybert_jax.store.cache import default_cache

_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8  # mallopt(3)
# Of XLA's flags only what its makers document as a gain: on several GPUs, gradients are summed while others are
# still computed. It means nothing to other devices.
XLA_FLAGS = ("--xla_gpu_enable_latency_hiding_scheduler=true",)
_UNREADABLE = re.compile(r"Error reading persistent compilation cache entry for '([^']+)'")  # JAX's warning


def configure(cache: Path | None = None) -> None:
    """Sets the process up; to be called before anything is computed.

    What the user has set by environment variables stays: flags of XLA's come after ours and win, and a
    JAX_COMPILATION_CACHE_DIR is where compiled programs are kept.

    Args:
        cache: its folder "xla" keeps compiled programs; the default cache unless given. JAX names each program by all
            that decides it, and deletes nothing.
    """
    keep_freed_memory()
    run_one_at_a_time()
    os.environ["XLA_FLAGS"] = " ".join((*XLA_FLAGS, os.environ.get("XLA_FLAGS", ""))).strip()
    folder = os.environ.get("JAX_COMPILATION_CACHE_DIR")
    if folder is None:
        folder = str((cache or default_cache()) / "xla")
        jax.config.update("jax_compilation_cache_dir", folder)
    # All programs: by default only those that took a second or more to compile, and a run has dozens below that.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    replace_unreadable(Path(folder))


def replace_unreadable(folder: Path) -> None:
    """Has compiled programs that JAX cannot read, as those of a killed process, removed and said in a plain line.

    JAX compiles such a program with a warning, but never writes over what is there, and so warns at every start. Its
    warning names the program, JAX's files are PROGRAM-KEY-cache: all of that name are removed, and compiled again.

    Args:
        folder: where JAX keeps compiled programs.
    """
    show = warnings.showwarning

    def shown(message: Any, *place: Any, **more: Any) -> None:
        if found := _UNREADABLE.match(str(message)):
            for entry in folder.glob(f"{glob.escape(found[1])}-{'?' * 64}-cache"):
                with suppress(OSError):  # a cache of somebody else's
                    entry.unlink(missing_ok=True)
            message = f"a compiled program in {folder} cannot be read ({found[1]}): it is compiled again"
        show(message, *place, **more)

    warnings.showwarning = shown


def run_one_at_a_time() -> None:
    """Has a CPU wait for each program; without effect on other devices, and once anything has been computed.

    A program queued behind another allocates its temporaries at once, beside the other's: a training step would take
    twice the memory, to gain the moment between two steps.
    """
    jax.config.update("jax_cpu_enable_async_dispatch", False)


def keep_freed_memory() -> None:
    """Has glibc's malloc reuse what it holds instead of returning every large buffer to the kernel.

    XLA's CPU backend allocates its temporaries again at each step; by default each of them is mapped, zeroed page by
    page and unmapped again. Does nothing where malloc is not glibc's; a preloaded allocator is left as it is.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    libc = ctypes.CDLL(None)
    libc.mallopt(_M_MMAP_MAX, 0)
    libc.mallopt(_M_TRIM_THRESHOLD, -1)  # never: also not when more than 2 GB are free at the end
    libc.mallopt(_M_ARENA_MAX, 1)  # other arenas cannot grow past 64 MB

"""A run of several processes begins together and ends together.

One that ends early, by an error or by a signal, says so to the others, which then end likewise. One that is killed or
cut off sends no heartbeats: JAX's coordination service misses it, and has every other process abort. What then would be
a stack trace is made the one line that a user needs, and a status of its own.
"""

import atexit
import ctypes
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, ClassVar

import jax

from tinybert_jax import processes
from tinybert_jax.errors import UserError, check
from tinybert_jax.interrupt import OUT_OF_TIME, Stopped, StopSignals
from tinybert_jax.run.hooks import Hook

LOST = 69  # EX_UNAVAILABLE of sysexits.h
_POLL = 1.0  # seconds
_PATIENCE = 20.0  # seconds for a process that was told to end
_ENDED = "tinybert_jax/ended/"
_LOST_MESSAGE = (
    "error: a process of this run is lost, and the others cannot go on without it: the same command on every host "
    "continues from the last checkpoint"
)


@dataclass(frozen=True)
class Cluster:
    """How this process finds the others of its run; the same command on every host, but for --process.

    Attributes:
        distributed: train in several processes, as SLURM, Open MPI, Kubernetes or Cloud TPU started them.
        coordinator: train in several processes that meet at this HOST:PORT, where process 0 listens.
        processes: how many they are.
        process: which of them this is, from 0.
        lost_after: seconds without a sign of life after which a process counts as lost, and the others end.
    """

    distributed: bool = False
    coordinator: str | None = None
    processes: int | None = None
    process: int | None = None
    lost_after: int = 30

    def hooks(self) -> tuple[Hook, ...]:
        """What joins the processes, where there are to be several.

        Raises:
            UserError: flags do not go together.
        """
        explicit = (self.coordinator, self.processes, self.process)
        if not self.distributed and explicit == (None, None, None):
            return ()
        if not self.distributed and None in explicit:
            raise UserError(
                "--coordinator HOST:PORT, --processes N and --process I go together, or give --distributed where a "
                f"scheduler says them, got {self.coordinator}, {self.processes} and {self.process}"
            )
        check("--lost-after", self.lost_after, self.lost_after >= 5, "at least 5 seconds")
        if self.processes is not None and self.process is not None:
            check("--process", self.process, 0 <= self.process < self.processes, f"in [0, {self.processes})")
        return (Join(self),)


class Join(Hook):
    """Makes this process one of several, before anything is computed."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def check(self) -> None:
        """Waits for the others, up to five minutes.

        Raises:
            UserError: nobody says who they are, or they do not come.
        """
        cluster = self._cluster
        jax.config.update("jax_enable_preemption_service", False)  # its handler would take SIGTERM away from ours
        try:
            jax.distributed.initialize(
                cluster.coordinator,
                cluster.processes,
                cluster.process,
                heartbeat_timeout_seconds=cluster.lost_after,
                shutdown_timeout_seconds=60,
            )
        except (ValueError, RuntimeError) as error:
            reason = " ".join(str(error).split())[:300]
            raise UserError(
                f"the processes of this run have not found each other: {reason}; start the same command for each of "
                "them, and give --coordinator HOST:PORT --processes N --process I where no scheduler does"
            ) from error
        atexit.register(_Ending.leave)  # runs before JAX's own, which waits for processes that may be gone


class _Ending:
    """How this process is about to end, once it is.

    Attributes:
        status: its exit status; None while it goes on.
        message: what it says then, if it is not to say it itself.
    """

    status: ClassVar[int | None] = None
    message: ClassVar[str] = _LOST_MESSAGE

    @classmethod
    def leave(cls) -> None:
        """Ends the process without waiting for others, where it ends early."""
        if cls.status is not None:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(cls.status)

    @classmethod
    def aborted(cls, _: int) -> None:
        """The handler of SIGABRT, which JAX's runtime raises in a thread of its own where a process is lost."""
        os.write(2, f"{cls.message}\n".encode())
        os._exit(LOST if cls.status is None else cls.status)


_ABORTED = ctypes.CFUNCTYPE(None, ctypes.c_int)(_Ending.aborted)  # C's handler: Python runs its own in the main thread


@contextmanager
def together() -> Iterator[None]:
    """Has the processes of a run end together, whichever of them ends first, and however it does."""
    if processes.count() == 1:
        yield
        return
    ctypes.CDLL(None).signal(int(signal.SIGABRT), _ABORTED)
    over = threading.Event()
    threading.Thread(target=_watch, args=(over,), name="processes", daemon=True).start()
    try:
        yield
    except Stopped as stopped:
        _Ending.status, _Ending.message = int(str(stopped.code)), "stopped: the same command continues"
        _part(_Ending.status, _Ending.message, over)
        raise
    except UserError as error:
        _Ending.status, _Ending.message = 2, f"error: {error}"
        _part(2, str(error), over)
        raise
    except Exception as error:  # where it comes of a lost process, the runtime aborts this one while it waits
        _part(1, f"{type(error).__name__}: {error}", over)
        _Ending.status = 1
        raise
    finally:
        over.set()


def _part(status: int, message: str, over: threading.Event) -> None:
    """Tells the others how this process ends, and waits until they do: a process that is lost is missed meanwhile."""
    over.set()
    _tell(status, message)
    while len(_ended()) < processes.count():
        time.sleep(_POLL / 2)
    if processes.is_first():
        time.sleep(2 * _POLL)  # the others ask the service that ends with this process


def _tell(status: int, message: str) -> None:
    with suppress(Exception):  # where the service is gone, this process is about to be aborted
        word = json.dumps({"status": status, "message": message})
        processes.client().key_value_set(f"{_ENDED}{jax.process_index()}", word, allow_overwrite=True)


def _ended() -> dict[int, dict[str, Any]]:
    """The processes that end, and what each has told."""
    with suppress(Exception):
        told = processes.client().key_value_dir_get(_ENDED)
        return {int(key.removeprefix(_ENDED)): json.loads(word) for key, word in told}
    return {}


def _watch(over: threading.Event) -> None:
    """Ends this process where another has ended."""
    while not over.wait(_POLL):
        for index, word in _ended().items():
            _follow(index, word["status"], word["message"], over)
            return


def _follow(index: int, status: int, message: str, over: threading.Event) -> None:
    number = {OUT_OF_TIME: getattr(signal, "SIGALRM", None)}.get(status, status - 128)
    if status in (1, 2) or number is None:
        said = f"error: process {index} of {processes.count()} has ended: {message}"
    else:
        if StopSignals.requested is None:
            os.kill(os.getpid(), number)
        # As soon as all have agreed to stop, they do. Before, this one may wait for devices of the one that has ended.
        if over.wait(_PATIENCE) or processes.Stop.agreed:
            return
        said = message
    _tell(status, message)
    time.sleep(2 * _POLL)
    os.write(2, f"{said}\n".encode())
    os._exit(status)

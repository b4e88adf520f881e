"""Several processes that train as one: all of them compute, and the first one keeps the run's folder.

They run the same program and meet in the coordination service of `jax.distributed`, which the first one hosts. What is
to be done once, the first does, and the others wait for its word; an only process just does it.

The service is reached by the client that `jax.distributed` keeps to itself, as JAX's own utilities and orbax do: to
wait there takes no device, has no limit of time, and can be interrupted.
"""

import functools
import json
import sys
from collections.abc import Callable
from itertools import count as numbers
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils

from tinybert_jax.interrupt import StopSignals

Made = TypeVar("Made")

_POLL_MS = 500
_ASK_EVERY = 10  # steps: to ask is to wait for the devices
_words = numbers()  # of the first process; all count alike, as they run the same program


def count() -> int:
    """How many processes there are."""
    return jax.process_count() if jax.distributed.is_initialized() else 1


def is_first() -> bool:
    """Whether this process keeps the run's folder."""
    return count() == 1 or jax.process_index() == 0


def client() -> Any:
    """The coordination service, as this process reaches it."""
    from jax._src.distributed import global_state

    return global_state.client


def from_first(make: Callable[[], Made]) -> Made:
    """What the first process makes, in every process.

    Args:
        make: called in the first process alone; makes what JSON can hold.
    """
    if count() == 1:
        return make()
    key = f"tinybert_jax/word/{next(_words)}"
    if is_first():
        made = make()
        client().key_value_set(key, json.dumps(made))
        return made
    return json.loads(_wait_for(key))


def _wait_for(key: str) -> str:
    while True:
        try:
            return client().blocking_key_value_get(key, _POLL_MS)
        except Exception as error:  # jaxlib has several types of its own
            if "DEADLINE_EXCEEDED" not in str(error):
                raise


def arrays_from_first(make: Callable[[], Any], like: Any) -> Any:
    """Arrays that the first process makes, in every process; of an only one, what `make` makes.

    Args:
        make: called in the first process alone; makes a tree of arrays.
        like: a tree of their shapes and types.
    """
    if count() == 1:
        return make()
    made = make() if is_first() else jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), like)
    from_first(lambda: None)  # before the devices do: they do not wait for ever
    return jax.device_get(multihost_utils.broadcast_one_to_all(made))


def in_turn(make: Callable[[], Made], probe: Path) -> Made:
    """What `make` makes in each process: on one file system first in the first, so that the others find it made.

    Args:
        make: keeps in files what takes long.
        probe: a file that the first process has written, in the run's folder.
    """
    if count() == 1:
        return make()
    theirs = from_first(probe.read_text)
    waits = not is_first() and probe.is_file() and probe.read_text() == theirs
    if not is_first():
        _say("waits for the files that the first one makes" if waits else "makes files of its own")
    made = None if waits else make()
    from_first(lambda: None)
    return make() if waits else made  # pyright: ignore[reportReturnType]


@functools.cache  # once
def _say(what: str) -> None:
    print(f"process {jax.process_index()} of {count()} {what}", file=sys.stderr)


class Stop:
    """Whether the processes have agreed to stop at a signal."""

    agreed: ClassVar[bool] = False


def asked_to_stop(step: int, finished: bool = False) -> bool:
    """Whether a signal has come to any process, or work is finished: in all processes alike.

    It takes the answer of all processes where `step` is a multiple of 10, and there alone: else it is False. The
    signal counts as come to every one of them. Of an only process the answer is known at once.

    Args:
        step: the number of steps done.
        finished: whether this process has enough.
    """
    if count() == 1:
        return finished or StopSignals.requested is not None
    if step % _ASK_EVERY:
        return False
    asked = multihost_utils.process_allgather(np.array([StopSignals.requested or 0, finished], np.int32))
    number, any_finished = np.max(asked, axis=0).tolist()
    StopSignals.requested = number or StopSignals.requested
    Stop.agreed = bool(number)
    return bool(number or any_finished)

"""Several processes that train as one: all of them compute, and the first one keeps the run's folder.

They run the same program and meet in the coordination service of `jax.distributed`, which the first one hosts. What is
to be done once, the first does, and the others wait for its word; an only process just does it. What is kept in a cache
that several see, they make together: `store.shares`.

The service is reached by the client that `jax.distributed` keeps to itself, as JAX's own utilities and orbax do: to
wait there takes no device, has no limit of time, and can be interrupted.
"""

import functools
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import count as numbers
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import jax
import numpy as np

from tinybert_jax.interrupt import StopSignals

Made = TypeVar("Made")

_POLL_MS = 500
_ASK_EVERY = 10  # steps: to ask is to wait for the devices
_words = numbers()  # of the first process; all count alike, as they run the same program


def count() -> int:
    """How many processes there are."""
    return jax.process_count() if jax.distributed.is_initialized() else 1


def index() -> int:
    """Which of them this is."""
    return jax.process_index() if count() > 1 else 0


def is_first() -> bool:
    """Whether this process keeps the run's folder."""
    return index() == 0


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
        with alone():
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
    from jax.experimental import multihost_utils  # takes long to import, and an only process does without

    made = make() if is_first() else jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), like)
    from_first(lambda: None)  # before the devices do: they do not wait for ever
    return jax.device_get(multihost_utils.broadcast_one_to_all(made))


def all_say(word: Any) -> list[Any]:
    """What each process says, in all of them, once all have said it; it must be what JSON can hold."""
    if count() == 1:
        return [word]
    key = f"tinybert_jax/word/{next(_words)}"
    client().key_value_set(f"{key}/{index()}", json.dumps(word))
    return [json.loads(_wait_for(f"{key}/{process}")) for process in range(count())]


def in_turn(make: Callable[[], Made]) -> Made:
    """What `make` makes in each process, in the first one first: others that see its files find them made."""
    with alone():
        made = make() if is_first() else None
        from_first(lambda: None)
        return made if is_first() else make()  # pyright: ignore[reportReturnType]


class Sharing:
    """Which processes make together what a cache lacks; None where each one makes what it needs."""

    by: ClassVar[tuple[int, ...] | None] = None


@contextmanager
def sharing(folder: Path) -> Iterator[None]:
    """Has the processes that see this very folder make together what is missing there, for as long as this lasts.

    Which those are is found out by a file that the first one writes there, and said.
    """
    if count() == 1:
        yield
        return
    name = from_first(lambda: _mark(folder))
    sees = all_say(bool(name) and (folder / name).exists())
    if is_first() and name:
        (folder / name).unlink()
    sharers = tuple(process for process, it_does in enumerate(sees) if it_does)
    shares = index() in sharers and len(sharers) > 1
    say("makes its share of files with those that see the same cache" if shares else "makes files of its own")
    Sharing.by = sharers
    try:
        yield
    finally:
        Sharing.by = None


@contextmanager
def alone() -> Iterator[None]:
    """Has this process make by itself what it makes meanwhile: the others do something else."""
    before, Sharing.by = Sharing.by, None
    try:
        yield
    finally:
        Sharing.by = before


def _mark(folder: Path) -> str:
    """Writes a file of a new name; returns that, or "" where nothing can be written."""
    with suppress(OSError):  # a cache that is only read
        folder.mkdir(parents=True, exist_ok=True)
        file, path = tempfile.mkstemp(prefix=".seen.", dir=folder)
        os.close(file)
        return Path(path).name
    return ""


@functools.cache  # once
def say(what: str) -> None:
    """Tells the user what this process, of several, does."""
    print(f"process {index()} of {count()} {what}", file=sys.stderr)


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
    from jax.experimental import multihost_utils

    asked = multihost_utils.process_allgather(np.array([StopSignals.requested or 0, finished], np.int32))
    number, any_finished = np.max(asked, axis=0).tolist()
    StopSignals.requested = number or StopSignals.requested
    Stop.agreed = bool(number)
    return bool(number or any_finished)

"""Checkpoints of a stage: orbax, written beside training, restored exactly."""

import hashlib
import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint.checkpoint_managers import AnyPreservationPolicy, LatestN, PolicyCheckpointInfo

from tinybert_jax.distill import TrainState
from tinybert_jax.errors import NotFinite, UserError, room
from tinybert_jax.processes import arrays_from_first, count, from_first, is_first
from tinybert_jax.run.held_out import Evaluation
from tinybert_jax.run.hooks import Hook, Publish, StageRun
from tinybert_jax.sharding import data_mesh, replicate
from tinybert_jax.store.files import read_json, write_json

KEPT = 2  # the latest, and one before it


class Checkpoints:
    """The latest checkpoints of one stage, and its best, in a folder; on exit it waits for the last write.

    A checkpoint appears under its name only once it is complete, so a killed run leaves the one before. Of several
    processes, whose states are the same, the first one writes and reads them.

    Attributes:
        best: the step that is kept however many follow; None for no such step.
    """

    def __init__(self, folder: Path, keep: int = KEPT) -> None:
        self.best: int | None = None
        policy = AnyPreservationPolicy([LatestN(keep), _Best(self)])
        self._folder = folder.absolute()  # orbax takes no other
        self._manager = _manager(self._folder, policy) if is_first() else None

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._manager is not None:
            with self._writing():
                self._manager.close()

    def save(self, step: int, state: TrainState) -> None:
        """Starts writing the state after `step` steps; a step that is there already is left alone.

        Raises:
            NotFinite: a number of the state is not.
            UserError: it cannot be written, or what was begun before could not be.
        """
        if self._manager is None or step == self._manager.latest_step():
            return
        state = _of_this_process(state)
        digest, is_finite = _digest(step, state)
        if not is_finite:
            raise NotFinite(f"what {self._folder.parent} is to keep must be finite, got other parameters", step)
        with self._writing():
            write_json(self._digest_file(step), digest)
            self._manager.save(step, args=ocp.args.StandardSave(state))

    def restore(self, fresh: TrainState) -> tuple[int, TrainState]:
        """The latest sound checkpoint as (steps done, state), or (0, fresh) where there is none.

        What is damaged is set aside, with a warning: what comes after an earlier checkpoint is trained again, to the
        same state.

        Args:
            fresh: the state at the stage's start; gives shapes, types and sharding.
        """
        found: list[TrainState] = []

        def latest_sound() -> int:
            step, state = self._latest_sound(fresh)
            found.append(state)
            return step

        step = from_first(latest_sound)
        return (step, self._everywhere(found.pop, fresh)) if step else (0, fresh)

    def _latest_sound(self, fresh: TrainState) -> tuple[int, TrainState]:
        assert self._manager is not None
        for step in sorted(self._manager.all_steps(), reverse=True):
            try:
                return step, self._read(step, fresh)
            except _Damaged as damage:
                warnings.warn(f"{damage}: it is set aside, and the stage continues from before it", stacklevel=4)
                self._set_aside(step)
        return 0, fresh

    def at(self, step: int, like: TrainState) -> TrainState:
        """The checkpoint of a step.

        Args:
            step: one that was saved, and is kept.
            like: gives shapes, types and sharding.

        Raises:
            UserError: it is damaged.
        """

        def read() -> TrainState:
            try:
                return self._read(step, like)
            except _Damaged as damage:
                raise UserError(f"{damage}: remove {self._folder} to train the stage once more") from damage

        return self._everywhere(read, like)

    @property
    def last(self) -> str:
        """Which checkpoint is the last, in words."""
        step = from_first(lambda: self._manager and self._manager.latest_step())
        return "No checkpoint is there yet" if step is None else f"The last checkpoint is {self._folder / str(step)}"

    def _everywhere(self, read: Callable[[], TrainState], like: TrainState) -> TrainState:
        return read() if count() == 1 else replicate(arrays_from_first(read, like), data_mesh())

    def _set_aside(self, step: int) -> None:
        assert self._manager is not None
        damaged = self._folder / f"{step}.damaged"  # no name of orbax's; it goes with the stage's other checkpoints
        shutil.rmtree(damaged, ignore_errors=True)
        (self._folder / str(step)).rename(damaged)
        self._manager.reload()

    def _read(self, step: int, like: TrainState) -> TrainState:
        """Reads a checkpoint, and compares it with its digest."""
        assert self._manager is not None
        self._manager.wait_until_finished()
        like = _of_this_process(like)
        target = like if count() > 1 else jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
        try:
            state: Any = self._manager.restore(step, args=ocp.args.StandardRestore(target))
            if _digest(step, state)[0] != read_json(self._digest_file(step)):
                raise ValueError("its content is not what was written")
        except Exception as error:  # orbax raises whatever its storage does; to the user all mean one thing
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
            raise _Damaged(f"the checkpoint {self._folder / str(step)} is damaged ({reason})") from error
        return state

    def _digest_file(self, step: int) -> Path:
        return self._folder / f"{step}.json"

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # likewise; of a write that was begun, it comes with a later call
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
            raise UserError(
                f"cannot write checkpoints to {self._folder}, with {room(self._folder)} free there: {reason}; once "
                "that is cured, the same command continues from the last one that was written"
            ) from error


class _Damaged(Exception):
    """A checkpoint that cannot be read, or is not what was written."""


def _digest(step: int, state: TrainState) -> tuple[str, bool]:
    """A digest of a state and of the step that it is of; and whether all its numbers are finite.

    Sums are made where the arrays are: a hash of all bytes would hold the device up, a second a gigabyte.
    """
    leaves = jax.tree_util.tree_leaves_with_path(state)
    sums = np.array(jax.device_get([_sum(leaf) for _, leaf in leaves]))
    names = [(jax.tree_util.keystr(path), leaf.shape, leaf.dtype.name) for path, leaf in leaves]
    content = repr((step, names, sums[:, 0].tolist()))
    return hashlib.sha256(content.encode()).hexdigest(), bool(sums[:, 1].all())


@jax.jit
def _sum(array: jax.Array) -> jax.Array:
    """Sums an array's bits, each number's times an odd one of its own, modulo 2^32; and says whether all are finite.

    Any one number that changes, by however many bits, changes the sum.
    """
    flat = array.reshape(-1)
    bits = jax.lax.bitcast_convert_type(flat, f"uint{8 * flat.dtype.itemsize}").astype(jnp.uint32)
    odd = 2 * jax.lax.iota(jnp.uint32, flat.size) + 1
    return jnp.stack([jnp.sum(bits * odd, dtype=jnp.uint32), jnp.isfinite(flat).all().astype(jnp.uint32)])


def _manager(folder: Path, policy: AnyPreservationPolicy) -> ocp.CheckpointManager:
    """orbax's, which of several processes only the first one has: its state is everybody's."""
    folder.mkdir(parents=True, exist_ok=True)  # where that is refused, orbax would try for minutes
    alone: Any = {"active_processes": {0}, "barrier_sync_key_prefix": "first"} if count() > 1 else {}
    options = ocp.CheckpointManagerOptions(
        preservation_policy=policy,
        cleanup_tmp_directories=True,
        create=count() == 1,
        multiprocessing_options=ocp.options.MultiprocessingOptions(**alone),
    )
    handler = ocp.StandardCheckpointHandler()  # else orbax guesses it from what lies there
    return ocp.CheckpointManager(folder, options=options, item_handlers=handler)


def _of_this_process(state: TrainState) -> TrainState:
    """The state as orbax takes it: what other processes have too, in copies on this one's host."""
    return state if count() == 1 else jax.device_get(state)


class _Best:
    """orbax's rule for what to keep: the step that is the best now."""

    def __init__(self, checkpoints: Checkpoints) -> None:
        self._checkpoints = checkpoints

    def should_preserve(self, checkpoints: Sequence[PolicyCheckpointInfo], *, context: Any) -> Sequence[bool]:
        return [info.step == self._checkpoints.best for info in checkpoints]


class Checkpointing(Hook):
    """A checkpoint every some steps, and of the best step; it comes after the evaluation that says which that is."""

    def __init__(self, checkpoints: Checkpoints, every: int, evaluation: Evaluation) -> None:
        self._checkpoints, self._save_every, self._evaluation = checkpoints, every, evaluation

    def start(self, run: StageRun, publish: Publish) -> None:
        """Keeps what was the best before."""
        self._keep_best()

    def step(self, done: int, state: TrainState, metrics: Mapping[str, Any]) -> None:
        """Saves the state where it is due."""
        self._keep_best()
        if done % self._save_every == 0 or done == self._checkpoints.best:
            self._checkpoints.save(done, state)

    def _keep_best(self) -> None:
        best = self._evaluation.best
        self._checkpoints.best = None if best is None else best.step

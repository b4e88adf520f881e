"""Checkpoints of a stage: orbax, written beside training, restored exactly."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import jax
import orbax.checkpoint as ocp
from orbax.checkpoint.checkpoint_managers import AnyPreservationPolicy, LatestN, PolicyCheckpointInfo

from tinybert_jax.distill import TrainState
from tinybert_jax.errors import UserError
from tinybert_jax.processes import arrays_from_first, count, from_first, is_first
from tinybert_jax.run.held_out import Evaluation
from tinybert_jax.run.hooks import Hook, Publish, StageRun
from tinybert_jax.sharding import data_mesh, replicate

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
            self._manager.close()

    def save(self, step: int, state: TrainState) -> None:
        """Starts writing the state after `step` steps; a step that is there already is left alone."""
        if self._manager is not None and step != self._manager.latest_step():
            self._manager.save(step, args=ocp.args.StandardSave(_to_write(state)))

    def restore(self, fresh: TrainState) -> tuple[int, TrainState]:
        """The latest checkpoint as (steps done, state), or (0, fresh) where there is none.

        Args:
            fresh: the state at the stage's start; gives shapes, types and sharding.

        Raises:
            UserError: the checkpoint cannot be read, or is of other parameters.
        """
        step = from_first(lambda: self._manager and self._manager.latest_step())
        return (0, fresh) if step is None else (step, self.at(step, fresh))

    def at(self, step: int, like: TrainState) -> TrainState:
        """The checkpoint of a step.

        Args:
            step: one that was saved, and is kept.
            like: gives shapes, types and sharding.

        Raises:
            UserError: as `restore`.
        """
        read = arrays_from_first(lambda: self._read(step, _to_write(like)), like)
        return read if count() == 1 else replicate(read, data_mesh())

    def _read(self, step: int, like: TrainState) -> TrainState:
        assert self._manager is not None
        self._manager.wait_until_finished()
        target = like if count() > 1 else jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
        try:
            state: Any = self._manager.restore(step, args=ocp.args.StandardRestore(target))
        except Exception as error:  # orbax raises whatever its storage does; to the user all mean one thing
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
            raise UserError(
                f"cannot restore the checkpoint {self._folder / str(step)}: {reason}; "
                "remove that folder to continue from the one before"
            ) from error
        return state


def _manager(folder: Path, policy: AnyPreservationPolicy) -> ocp.CheckpointManager:
    """orbax's, which of several processes only the first one has: its state is everybody's."""
    folder.mkdir(parents=True, exist_ok=True)
    alone: Any = {"active_processes": {0}, "barrier_sync_key_prefix": "first"} if count() > 1 else {}
    processes = ocp.options.MultiprocessingOptions(**alone)
    options = ocp.CheckpointManagerOptions(preservation_policy=policy, create=False, multiprocessing_options=processes)
    return ocp.CheckpointManager(folder, options=options)


def _to_write(state: TrainState) -> TrainState:
    """The state as orbax takes it: of arrays that are also another process's, the first one has copies on its host."""
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

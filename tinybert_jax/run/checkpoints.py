"""Checkpoints of a stage: orbax, written beside training, restored exactly."""

from pathlib import Path
from types import TracebackType
from typing import Any

import jax
import orbax.checkpoint as ocp

from tinybert_jax.distill import TrainState
from tinybert_jax.errors import UserError


class Checkpoints:
    """The latest checkpoints of one stage, in a folder; a context manager that waits for the last write on exit.

    A checkpoint appears under its name only once it is complete, so a killed run leaves the one before.
    """

    def __init__(self, folder: Path, keep: int = 2) -> None:
        options = ocp.CheckpointManagerOptions(max_to_keep=keep, create=True)
        self._folder = folder.absolute()  # orbax takes no other
        self._manager = ocp.CheckpointManager(self._folder, options=options)

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._manager.close()

    def save(self, step: int, state: TrainState) -> None:
        """Starts writing the state after `step` steps; a step that is there already is left alone."""
        if step != self._manager.latest_step():
            self._manager.save(step, args=ocp.args.StandardSave(state))

    def restore(self, fresh: TrainState) -> tuple[int, TrainState]:
        """The latest checkpoint as (steps done, state), or (0, fresh) where there is none.

        Args:
            fresh: the state at the stage's start; gives shapes, types and sharding.

        Raises:
            UserError: the checkpoint cannot be read, or is of other parameters.
        """
        step = self._manager.latest_step()
        if step is None:
            return 0, fresh
        target = jax.tree.map(ocp.utils.to_shape_dtype_struct, fresh)
        try:
            state: Any = self._manager.restore(step, args=ocp.args.StandardRestore(target))
        except Exception as error:  # orbax raises whatever its storage does; to the user all mean one thing
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
            raise UserError(
                f"cannot restore the checkpoint {self._folder / str(step)}: {reason}; "
                "remove that folder to continue from the one before"
            ) from error
        return step, state

"""Where a run may also report to, beside metrics.jsonl: each an extra of its own, and a hook."""

import hashlib
from collections.abc import Callable
from typing import Any, Literal

from tinybert_jax.extras import require
from tinybert_jax.run.hooks import Hook, Publish, StageRun
from tinybert_jax.run.recipe_file import to_json
from tinybert_jax.tracking import Line

TrackerName = Literal["tensorboard", "wandb"]


class TensorBoard(Hook):
    """Event files in MODEL/tensorboard/STAGE, for `tensorboard --logdir`."""

    def check(self) -> None:
        """Wants its extra."""
        require("tensorboardX", "tensorboard")

    def start(self, run: StageRun, publish: Publish) -> None:
        """Goes on in a file of its own; steps that are taken again hide those before."""
        writer = require("tensorboardX", "tensorboard").SummaryWriter
        self._writer: Any = writer(str(run.folder / "tensorboard" / run.name), purge_step=run.start + 1)

    def record(self, line: Line) -> None:
        """Writes a line's figures."""
        for name, value in _figures(line).items():
            self._writer.add_scalar(name, value, line["step"])

    def end(self, error: BaseException | None) -> None:
        """Writes what is pending."""
        self._writer.close()


class Wandb(Hook):
    """Weights & Biases: a run there for each stage, grouped by ours; WANDB_MODE and WANDB_PROJECT are obeyed."""

    def check(self) -> None:
        """Wants its extra."""
        require("wandb", "wandb")

    def start(self, run: StageRun, publish: Publish) -> None:
        """Begins the stage's run there, or goes on with it."""
        folder = (run.folder / run.name).absolute()
        output, model = folder.parts[-3:-1]
        self._run: Any = require("wandb", "wandb").init(
            group=output,
            name=f"{output}/{model}/{run.name}",
            id=hashlib.sha256(str(folder).encode()).hexdigest()[:16],
            resume="allow",
            dir=run.folder,
            config=to_json(run.stage),
        )

    def record(self, line: Line) -> None:
        """Sends a line's figures."""
        self._run.log(_figures(line), step=line["step"])

    def end(self, error: BaseException | None) -> None:
        """Ends the run there, and says so where it failed."""
        self._run.finish(exit_code=int(error is not None))


TRACKERS: dict[TrackerName, Callable[[], Hook]] = {"tensorboard": TensorBoard, "wandb": Wandb}


def _figures(line: Line) -> dict[str, float]:
    return {name: value for name, value in line.items() if name not in ("stage", "step")}

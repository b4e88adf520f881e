"""What happens beside training: the loop calls hooks, in order, and knows nothing of what they do."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from tinybert_jax.distill import TrainState
from tinybert_jax.distill.optimizer import rate_schedule
from tinybert_jax.errors import check
from tinybert_jax.interrupt import stop_after
from tinybert_jax.model import BertForQuestionAnswering
from tinybert_jax.run.curves import plot_curves
from tinybert_jax.run.recipe import Stage
from tinybert_jax.tracking import Line, Tracker, read_metrics

Publish = Callable[[Line], None]


@dataclass(frozen=True)
class StageRun:
    """A stage under way, as hooks see it.

    Attributes:
        folder: the model's; metrics.jsonl is there.
        name: the stage's, such as "2-prediction".
        stage: its settings.
        network: what `state.params["model"]` are parameters of.
        steps: its length.
        start: how many of its steps were done before.
    """

    folder: Path
    name: str
    stage: Stage
    network: BertForQuestionAnswering
    steps: int
    start: int


class Hook:
    """Something done beside training; a subclass overrides what it needs.

    One hook sees every stage of every model that a run trains, one after another, and a stage that continues from a
    checkpoint is started at that step: what a hook has to remember beyond that must be on the disk.

    Attributes:
        every: `step` is called after each step that this divides, and after a stage's last.
        finished: once True, the stage ends before its next step; `start` sets it back where others are to go on.
    """

    every: int = 1
    finished: bool = False

    def check(self) -> None:
        """Called before anything else is done.

        Raises:
            UserError: what the hook needs for its work is not there.
        """

    def start(self, run: StageRun, publish: Publish) -> None:
        """A stage begins or continues.

        Args:
            run: the stage.
            publish: takes a line of figures, {"stage", "step", …}, for every hook's `record`, metrics.jsonl's too.
        """

    def step(self, done: int, state: TrainState, metrics: Mapping[str, Any]) -> None:
        """A step was taken.

        Args:
            done: the stage's steps so far.
            state: what training changes. The next step overwrites its arrays: what is kept must be copied.
            metrics: the step's loss and its terms, on the device. To read one is to wait for it.
        """

    def record(self, line: Line) -> None:
        """A line of metrics.jsonl, {"stage", "step", …}, of plain numbers: the means of an interval, or scores."""

    def end(self, error: BaseException | None) -> None:
        """The stage is left, by its end, a signal, or an error; called wherever `start` succeeded."""

    def done(self, output: Path) -> None:
        """The run is complete: its folder holds all that it will."""


class Hooks:
    """A stage's hooks as one: a context manager around its loop, which starts and ends them, first to last."""

    def __init__(self, run: StageRun, hooks: Sequence[Hook]) -> None:
        self._run, self._hooks = run, hooks
        self._started: list[Hook] = []

    def __enter__(self) -> "Hooks":
        try:
            for hook in self._hooks:
                hook.start(self._run, self._record)
                self._started.append(hook)
        except BaseException as error:
            self.__exit__(type(error), error, None)
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with ExitStack() as ends:  # calls the last that was pushed first, and all of them, whatever one raises
            for hook in reversed(self._started):
                ends.push(lambda _, raised, __, hook=hook: hook.end(raised or error))

    def step(self, done: int, state: TrainState, metrics: Mapping[str, Any]) -> None:
        """Calls each hook that is due."""
        for hook in self._hooks:
            if done % hook.every == 0 or done == self._run.steps:
                hook.step(done, state, metrics)

    @property
    def finished(self) -> bool:
        """Whether one of them ends the stage."""
        return any(hook.finished for hook in self._hooks)

    def _record(self, line: Line) -> None:
        for hook in self._started:
            hook.record(line)


def check_hooks(hooks: Sequence[Hook]) -> None:
    """Raises a UserError where a hook could never be due, or not do its work."""
    for hook in hooks:
        hook.check()
        check(f"{type(hook).__name__}.every", hook.every, hook.every >= 1, "at least 1")


class TimeLimit(Hook):
    """Stops the run after some seconds, as a signal would: the step at hand is finished, and a checkpoint written."""

    def __init__(self, seconds: float) -> None:
        check("--max-seconds", seconds, 0 < seconds < float("inf"), "above 0, and finite")
        self._seconds = seconds

    def check(self) -> None:
        """Starts the clock."""
        check("--max-seconds", self._seconds, stop_after(self._seconds), "left out on a system without timers")


class Tracking(Hook):
    """metrics.jsonl, the curves drawn from it, and the progress on stderr.

    Args:
        log_every: steps between lines.
        check_every: steps between checks that the figures are finite; for what follows it and must not see others.
        skip_bad: how many steps of the stage the optimiser may have left out, as in `Tracker`.
    """

    def __init__(self, log_every: int, check_every: int | None = None, skip_bad: int = 0) -> None:
        self._log_every, self._check_every, self._skip_bad = log_every, check_every or log_every, skip_bad

    def start(self, run: StageRun, publish: Publish) -> None:
        """Drops the lines of steps that are taken again."""
        stage = run.stage
        rates = rate_schedule(stage, -(-run.steps // stage.accumulate))

        def publish_with_rate(line: Line) -> None:
            # An update that was left out did not count for the schedule.
            updates = (line["step"] - 1 - self._tracker.skipped) // stage.accumulate
            rate = float(rates(max(updates, 0)))
            publish({**line, "learning_rate": float(f"{rate:.6g}")})

        progress = {"total_steps": run.steps, "start_step": run.start, "log_every": self._log_every}
        progress["skip_bad"] = self._skip_bad
        self._tracker = Tracker(run.folder, stage=run.name, **progress)
        self._tracker.publish = publish_with_rate
        self._tracker.__enter__()

    def step(self, done: int, state: TrainState, metrics: Mapping[str, Any]) -> None:
        """Reads the device once an interval."""
        self._tracker.record(done, metrics)
        if done % self._check_every == 0:
            self._tracker.check()

    def record(self, line: Line) -> None:
        """Writes what any hook publishes."""
        self._tracker.write(line)

    def end(self, error: BaseException | None) -> None:
        """Records what is pending and draws the curves, unless there was an error."""
        self._tracker.__exit__(error and type(error), error, None)
        if error is None and read_metrics(self._tracker.folder):  # a signal may come before the first step
            plot_curves(self._tracker.folder)

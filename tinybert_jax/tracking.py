"""What a run tells while it trains: metrics.jsonl, and a progress bar."""

import json
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.typing import ArrayLike

from tinybert_jax.errors import NotFinite, UserError, check_least
from tinybert_jax.store.files import atomic_path, naming

Line = Mapping[str, Any]

METRICS_FILE = "metrics.jsonl"
HELD_OUT_F1 = "held_out_f1"


class Tracker:
    """Records a stage's metrics without making the device wait: it reads them every `log_every` steps.

    A context manager around the training loop; one line of metrics.jsonl holds the means of an interval:
    {"stage", "step", "loss", …, "steps_per_second"}; the rate is by the clock, compilation included. Lines
    that an earlier, killed run wrote beyond the checkpoint which this one starts from are removed on entry.
    Leaving without an exception records what is pending. Progress goes to stderr: a bar on a terminal,
    else one plain line per interval. Steps whose update was left out, as `grad_norm` was not finite, are
    left out of the means, and counted: "skipped".

    Attributes:
        publish: takes each interval's line: `write`, unless others read it too.
        skipped: how many of the stage's steps were left out so far.
    """

    def __init__(
        self, folder: Path, *, stage: str, total_steps: int, start_step: int, log_every: int, skip_bad: int = 0
    ) -> None:
        """Prepares a stage's record.

        Args:
            folder: the run's folder; created if missing.
            stage: the stage's name, unique in the run.
            total_steps: the stage's length.
            start_step: how many of its steps are done already.
            log_every: the length of an interval, in steps.
            skip_bad: how many steps of the stage may have been left out.
        """
        self.folder = Path(folder)
        self.stage = stage
        self.total_steps = total_steps
        self.start_step = start_step
        self.log_every = log_every
        self.skip_bad = skip_bad
        check_least(self, log_every=1)
        self.publish: Callable[[Line], None] = self.write
        self._pending: list[tuple[int, Mapping[str, Any]]] = []

    def __enter__(self) -> "Tracker":
        from tqdm import tqdm

        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / METRICS_FILE
        _drop_lines_after(path, self.stage, self.start_step)
        lines = read_metrics(self.folder)
        self.skipped = sum(line.get("skipped", 0) for line in lines if line["stage"] == self.stage)
        self._file = path.open("a", encoding="utf-8")
        self._bar = tqdm(
            total=self.total_steps,
            initial=self.start_step,
            desc=self.stage,
            unit="step",
            disable=not sys.stderr.isatty(),
        )
        self._interval_began = time.perf_counter()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self._flush()
        finally:
            self._bar.close()
            self._file.close()

    def record(self, step: int, metrics: Mapping[str, ArrayLike]) -> None:
        """Notes a step's metrics; returns at once unless the step ends an interval.

        Args:
            step: the number of steps done, this one included.
            metrics: names -> scalars, on the device or not, the same names at every step.

        Raises:
            NotFinite: as `check`, at an interval's end.
        """
        self._pending.append((step, metrics))
        if step % self.log_every == 0:
            self._flush()

    def write(self, line: Line) -> None:
        """Adds a line of figures to metrics.jsonl; it is on the disk, whatever becomes of the process."""
        with naming(self._file.name):
            self._file.write(json.dumps(line) + "\n")
            self._file.flush()

    def check(self) -> None:
        """Checks the steps so far, those that no line tells of yet too.

        A line is written where one of them was left out: it must be known to whoever continues from here.

        Raises:
            NotFinite: a metric is not, in a step that may not be left out.
        """
        if self._left_out():
            self._flush()

    def _left_out(self) -> int:
        """Reads the pending metrics back, all at once, and checks them; returns how many of the steps were left out."""
        self._pending = jax.device_get(self._pending)
        before = may_skip = self.skip_bad - self.skipped
        for step, metrics in self._pending:
            bad = [name for name in _ordered(metrics) if not np.isfinite(metrics[name])]
            if "grad_norm" in bad and may_skip > 0:
                may_skip -= 1
            elif bad:
                raise NotFinite(f"stage {self.stage}: {bad[0]} must be finite, got {float(metrics[bad[0]])}", step)
        return before - may_skip

    def _flush(self) -> None:
        """Writes the means of what is pending."""
        if not self._pending:
            return
        skipped = self._left_out()
        now, last = time.perf_counter(), self._pending[-1][0]
        rate = len(self._pending) / max(now - self._interval_began, 1e-9)
        self._interval_began = now
        sound = [metrics for _, metrics in self._pending if np.isfinite(list(metrics.values())).all()]
        means = {name: float(np.mean([metrics[name] for metrics in sound])) for name in _ordered(*sound[:1])}
        self._pending, self.skipped = [], self.skipped + skipped
        counted = {"skipped": skipped} if skipped else {}
        self.publish({"stage": self.stage, "step": last, **means, **counted, "steps_per_second": round(rate, 4)})
        self._show(last, {**means, **counted}, rate)

    def _show(self, step: int, means: Mapping[str, float], rate: float) -> None:
        shown = {name: f"{value:.4g}" for name, value in means.items()}
        if self._bar.disable:
            text = " ".join(f"{name} {value}" for name, value in shown.items())
            left = _clock((self.total_steps - step) / rate)
            print(
                f"{self.stage}: step {step}/{self.total_steps} {text} ({rate:.3g} steps/s, {left} left)",
                file=sys.stderr,
                flush=True,
            )
        else:
            self._bar.set_postfix(shown, refresh=False)
            self._bar.update(step - self._bar.n)


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """The lines of a run's metrics.jsonl, less a torn last one (the process died while writing it).

    Raises:
        UserError: a line before the last is not JSON.
    """
    path = Path(folder) / METRICS_FILE
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n") if path.exists() else [""]
    records = []
    for number, line in enumerate(lines[:-1], start=1):  # what follows the last line break is empty or torn
        try:
            records.append(json.loads(line))
        except ValueError as error:
            raise UserError(f"line {number} of {path} is not JSON: {error}; remove that line to continue") from error
    return records


def _ordered(*metrics: Mapping[str, Any]) -> list[str]:
    """The names of metrics, the loss first."""
    return sorted({name for some in metrics for name in some}, key=lambda name: (name != "loss", name))


def _drop_lines_after(path: Path, stage: str, step: int) -> None:
    """Keeps of metrics.jsonl the other stages and this one up to `step`: the rest is trained again."""
    if not path.exists():
        return
    kept = [record for record in read_metrics(path.parent) if record["stage"] != stage or record["step"] <= step]
    with atomic_path(path) as temporary:
        temporary.write_text("".join(json.dumps(record) + "\n" for record in kept), encoding="utf-8")


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{seconds:02d}"

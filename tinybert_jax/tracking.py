"""What a run tells while it trains: metrics.jsonl, and a progress bar."""

import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.typing import ArrayLike

from tinybert_jax.errors import UserError, check_least
from tinybert_jax.store.files import atomic_path

Line = Mapping[str, Any]

METRICS_FILE = "metrics.jsonl"
HELD_OUT_F1 = "held_out_f1"


class Tracker:
    """Records a stage's metrics without making the device wait: it reads them every `log_every` steps.

    A context manager around the training loop; one line of metrics.jsonl holds the means of an interval:
    {"stage", "step", "loss", …, "steps_per_second"}; the rate is by the clock, compilation included. Lines
    that an earlier, killed run wrote beyond the checkpoint which this one starts from are removed on entry.
    Leaving without an exception records what is pending. Progress goes to stderr: a bar on a terminal,
    else one plain line per interval.

    Attributes:
        publish: takes each interval's line: `write`, unless others read it too.
    """

    def __init__(self, folder: Path, *, stage: str, total_steps: int, start_step: int, log_every: int):
        """Prepares a stage's record.

        Args:
            folder: the run's folder; created if missing.
            stage: the stage's name, unique in the run.
            total_steps: the stage's length.
            start_step: how many of its steps are done already.
            log_every: the length of an interval, in steps.
        """
        self.folder = Path(folder)
        self.stage = stage
        self.total_steps = total_steps
        self.start_step = start_step
        self.log_every = log_every
        check_least(self, log_every=1)
        self.publish: Callable[[Line], None] = self.write
        self._pending: list[tuple[int, Mapping[str, Any]]] = []

    def __enter__(self) -> "Tracker":
        from tqdm import tqdm

        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / METRICS_FILE
        _drop_lines_after(path, self.stage, self.start_step)
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
            UserError: a metric of the interval is not finite.
        """
        self._pending.append((step, metrics))
        if step % self.log_every == 0:
            self._flush()

    def write(self, line: Line) -> None:
        """Adds a line of figures to metrics.jsonl; it is on the disk, whatever becomes of the process."""
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()

    def _flush(self) -> None:
        """Reads the pending metrics back, all at once, and writes their means."""
        if not self._pending:
            return
        steps = [step for step, _ in self._pending]
        values = jax.device_get([metrics for _, metrics in self._pending])
        self._pending = []
        now = time.perf_counter()
        rate = len(steps) / max(now - self._interval_began, 1e-9)
        self._interval_began = now
        names = sorted(values[0], key=lambda name: (name != "loss", name))
        columns = {name: [metrics[name] for metrics in values] for name in names}
        self._check_finite(steps, columns)
        means = {name: float(np.mean(column)) for name, column in columns.items()}
        self.publish({"stage": self.stage, "step": steps[-1], **means, "steps_per_second": round(rate, 4)})
        self._show(steps[-1], means, rate)

    def _check_finite(self, steps: Sequence[int], columns: Mapping[str, Sequence[np.ndarray]]) -> None:
        for i, step in enumerate(steps):
            for name, column in columns.items():
                if not np.isfinite(column[i]):
                    raise UserError(
                        f"stage {self.stage}: {name} must be finite, got {float(column[i])} at step {step}; "
                        "try a lower learning rate, a longer warm-up or float32 computation"
                    )

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

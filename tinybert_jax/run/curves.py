"""What training looked like, drawn from metrics.jsonl."""

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tinybert_jax.errors import UserError
from tinybert_jax.store.files import atomic_path
from tinybert_jax.tracking import METRICS_FILE, Line, read_metrics

CURVES_FILE = "curves.png"
_NO_TERMS = {"stage", "step", "grad_norm", "learning_rate", "steps_per_second"}


def _terms(name: str) -> bool:
    return name not in _NO_TERMS and not name.startswith("held_out")


# What is drawn below each other, for each stage: the axis' words, and which figures of a line belong there.
_ROWS: dict[str, Callable[[str], bool]] = {
    "loss and its terms": _terms,
    "learning rate": lambda name: name == "learning_rate",
    "held-out questions, %": lambda name: name.startswith("held_out"),
}


def plot_curves(folder: Path) -> None:
    """Draws the figures in metrics.jsonl to curves.png, a column a stage; without matplotlib, a warning says so.

    Raises:
        UserError: nothing has been recorded in `folder`, or metrics.jsonl is damaged.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        warnings.warn(f"{CURVES_FILE} needs matplotlib: pip install 'tinybert-jax[plots]'", stacklevel=2)
        return
    records = read_metrics(folder)
    if not records:
        raise UserError(f"no metrics in {Path(folder) / METRICS_FILE}: train first, then plot")
    stages = list(dict.fromkeys(record["stage"] for record in records))
    rows = [row for row, belongs in _ROWS.items() if any(belongs(name) for record in records for name in record)]
    figure = Figure(figsize=(5 * len(stages), 1 + 2.5 * len(rows)), layout="constrained")
    panels = figure.subplots(len(rows), len(stages), squeeze=False)
    for column, stage in enumerate(stages):
        of_stage = [record for record in records if record["stage"] == stage]
        panels[0, column].set_title(stage)
        for row, panel in zip(rows, panels[:, column], strict=True):
            _draw(panel, row, of_stage)
    with atomic_path(Path(folder) / CURVES_FILE) as temporary:
        figure.savefig(temporary, dpi=120, format="png")


def _draw(panel: Any, row: str, records: Sequence[Line]) -> None:
    """Draws the figures of a row over the steps of those records that hold them."""
    names = list(dict.fromkeys(name for record in records for name in record if _ROWS[row](name)))
    if not names:  # a stage that is not scored
        panel.set_axis_off()
        return
    for name in names:
        points = [(record["step"], record[name]) for record in records if name in record]
        # A line through a single point is invisible: few points are marked. A loss with one term hides behind it.
        style = {"marker": "o" if len(points) <= 20 else "", "markersize": 4, "linewidth": 4 if name == "loss" else 1.5}
        panel.plot(*zip(*points, strict=True), label=name.replace("_", " "), **style)
    if len(names) > 1:
        panel.legend()
    if row == "loss and its terms" and all(value > 0 for line in panel.lines for value in line.get_ydata()):
        panel.set_yscale("log")  # terms may be far apart
    panel.set(xlabel="step", ylabel=row)
    panel.xaxis.get_major_locator().set_params(integer=True)  # no fractions of a step
    panel.grid(alpha=0.3)

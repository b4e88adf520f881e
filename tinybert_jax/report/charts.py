"""The page's charts, as SVG that takes its colours from the page: light or dark, the same picture will do."""

import io
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tinybert_jax.report.figures import Figures

# Stand-ins that matplotlib draws with, and the page's colours that they are exchanged for.
_INK, _GRID, _SYSTEMS = "#010203", "#010204", ("#010205", "#010206")
_COLOURS = {_INK: "currentColor", _GRID: "var(--grid)", _SYSTEMS[0]: "var(--first)", _SYSTEMS[1]: "var(--second)"}
_MARKERS = ("o", "D")  # systems are told apart without colours, too
_STYLE: dict[Any, Any] = {
    "axes.edgecolor": _INK,
    "axes.facecolor": "none",
    "axes.labelcolor": _INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "figure.facecolor": "none",
    "font.size": 11,
    "grid.color": _GRID,
    "legend.frameon": False,
    "legend.labelcolor": _INK,
    "svg.fonttype": "none",
    "text.color": _INK,
    "text.parse_math": False,
    "xtick.color": _INK,
    "ytick.color": _INK,
}
_WIDTH = 4.8  # inches: 460 pixels of a page, and hardly more than a phone has

Svg = str


def threshold_chart(curve: Figures, in_use: float | None, system: int) -> Svg:
    """Precision, recall and F1 against the threshold, the one in use marked.

    Args:
        curve: of `threshold_curve`.
        in_use: the threshold; None where there is none.
        system: 0 or 1, whose colour is used.
    """
    with _drawn(3.4, f"threshold{system}") as (panel, svg):
        for name, dashes in (("f1", "-"), ("precision", "--"), ("recall", ":")):
            values = [np.nan if value is None else value for value in curve[name]]
            label = {"f1": "F1"}.get(name, name)
            panel.plot(curve["threshold"], values, dashes, color=_SYSTEMS[system], label=label, linewidth=1.8)
        if in_use is not None:
            panel.axvline(in_use, color=_INK, linewidth=1, label="in use")
        panel.set(xlabel="threshold of “no answer”", ylabel="percent", ylim=(0, 102))
        panel.legend(loc="upper center", bbox_to_anchor=(0.5, 1.17), ncols=4, columnspacing=1.2, handlelength=1.8)
    return svg()


def reliability_chart(rows: Sequence[list[Figures] | None]) -> Svg:
    """How often answers are right against how probable they were called; on the diagonal both agree.

    Args:
        rows: of `reliability`, for each system.
    """
    with _drawn(4.2, "reliability") as (panel, svg):
        panel.plot([0, 100], [0, 100], color=_INK, linewidth=1, linestyle=":")
        for number, bins in enumerate(rows):
            if bins:
                _points(panel, bins, number)
        panel.set(xlabel="probability of the answer given, %", ylabel="share right, %", xlim=(0, 102), ylim=(0, 102))
    return svg()


def _points(panel: Axes, bins: list[Figures], number: int) -> None:
    low, high = np.array([row["interval"] for row in bins]).T
    right = np.array([row["right"] for row in bins])
    panel.errorbar(
        [row["probability"] for row in bins],
        right,
        # Rounding may put an end on the wrong side of its point.
        np.maximum(0, [right - low, high - right]),
        color=_SYSTEMS[number],
        marker=_MARKERS[number],
        markersize=5,
        linewidth=1.5,
    )


def group_chart(rows: list[Figures], kind: str) -> Svg:
    """F1 of every group with its interval, the groups below each other.

    Args:
        rows: of `groups`, one kind's.
        kind: its name.
    """
    systems = len(rows[0]["f1"])
    with _drawn(1.0 + (0.32 + 0.1 * systems) * len(rows), kind) as (panel, svg):
        places = np.arange(len(rows))
        for number in range(systems):
            f1 = np.array([row["f1"][number] for row in rows])
            low, high = np.array([row["intervals"][number] for row in rows]).T
            panel.errorbar(
                f1,
                places + 0.24 * (number - (systems - 1) / 2),
                xerr=np.maximum(0, [f1 - low, high - f1]),
                color=_SYSTEMS[number],
                marker=_MARKERS[number],
                markersize=5,
                linestyle="",
                linewidth=1.5,
            )
        panel.set_yticks(places, [f"{row['label']}  ({row['count']:,})" for row in rows])
        least = min(low for row in rows for low, _ in row["intervals"])
        panel.set(xlabel="F1, %", xlim=(10 * (least // 10) - 1, 101), ylim=(len(rows) - 0.5, -0.5))
    return svg()


@contextmanager
def _drawn(height: float, name: str) -> Iterator[tuple[Axes, Callable[[], Svg]]]:
    """Yields a panel to draw on, and what gives the picture then; `name` tells its parts from other pictures'."""
    with mpl.rc_context({**_STYLE, "svg.hashsalt": name}):
        figure = Figure(figsize=(_WIDTH, height), layout="constrained")
        panel = figure.add_subplot()
        panel.grid(linewidth=0.8)
        panel.set_axisbelow(True)
        file = io.StringIO()
        yield panel, lambda: _for_page(file.getvalue(), re.sub(r"\W", "", name))
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})


def _for_page(svg: str, name: str) -> Svg:
    """The picture as a part of a page: no header of its own, the page's colours, and ids that no other picture has."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'<svg [^>]*(viewBox="[^"]*")[^>]*>', r'<svg \1 aria-hidden="true" focusable="false">', svg, count=1)
    svg = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", svg)
    for stand_in, colour in _COLOURS.items():
        svg = svg.replace(stand_in, colour)
    return svg

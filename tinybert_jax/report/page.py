"""The report as one HTML file that needs nothing else: no network, no other file."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

import tinybert_jax
from tinybert_jax.data.example import Example
from tinybert_jax.report.charts import group_chart, reliability_chart, threshold_chart
from tinybert_jax.report.figures import Figures, groups, overview, reliability, threshold_curve
from tinybert_jax.report.questions import MOST_BYTES, pack
from tinybert_jax.report.systems import System
from tinybert_jax.scoring.calibration import calibration_error
from tinybert_jax.store.files import atomic_path


def write_report(path: Path, data: str, examples: Sequence[Example], systems: Sequence[System]) -> None:
    """Writes the page, whole or not at all.

    Args:
        path: the file.
        data: what the user calls the questions.
        examples: the questions.
        systems: who answered them: one, or two to be compared, the one that the page is about first.
    """
    environment = Environment(
        loader=PackageLoader("tinybert_jax.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    packed = pack(examples, systems, MOST_BYTES)
    page = environment.get_template("page.html").render(
        data=data,
        systems=systems,
        labels=labels([system.name for system in systems]),
        total=len(examples),
        unanswerable=sum(example.is_impossible for example in examples),
        overview=overview(systems),
        thresholds=[_thresholds(examples, system, number) for number, system in enumerate(systems)],
        reliability=_reliability(systems),
        groups=[_group(kind, rows) for kind, rows in groups(examples, systems).items()],
        packed=packed,
        version=tinybert_jax.__version__,
    )
    with atomic_path(path) as temporary:
        # What is no valid Unicode in the data (half of a surrogate pair) is shown as "?".
        temporary.write_text(page, encoding="utf-8", errors="replace")


def labels(names: Sequence[str]) -> list[str]:
    """Names short enough for tables: of paths their last two parts, unless these are the same."""
    short = ["/".join(Path(name).parts[-2:]) for name in names]
    return short if len(set(short)) == len(short) else list(names)


def _thresholds(examples: Sequence[Example], system: System, number: int) -> dict[str, Any] | None:
    """A system's curve, drawn, with the best threshold; None where it has none."""
    curve = threshold_curve(examples, system)
    if curve is None:
        return None
    return {
        "chart": threshold_chart(curve, system.threshold, number),
        "in_use": system.threshold,
        "best_f1": system.metrics["best_f1"],
        "best_at": system.metrics["best_f1_thresh"],
    }


def _reliability(systems: Sequence[System]) -> dict[str, Any] | None:
    """The diagram of all systems that give probabilities; None where none does."""
    bins = [reliability(system) for system in systems]
    if not any(bins):
        return None
    errors = [
        None if system.probability is None else 100 * calibration_error(system.probability, system.is_right)
        for system in systems
    ]
    return {"chart": reliability_chart(bins), "bins": bins, "errors": errors}


def _group(kind: str, rows: list[Figures]) -> dict[str, Any]:
    return {"kind": kind, "rows": rows, "chart": group_chart(rows, kind)}

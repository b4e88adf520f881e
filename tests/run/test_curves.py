"""The picture of a run."""

import json
import sys
from unittest import mock

import pytest

from tinybert_jax.errors import UserError
from tinybert_jax.run.curves import plot_curves


def write(folder, *lines):
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def drawn(folder):
    """What is drawn where: {(row, column): {label: points}}, with each panel's title and labels."""
    from matplotlib.figure import Figure

    seen = {}

    def savefig(figure, path, **_):
        path.write_bytes(b"")
        for panel in figure.axes:
            at = panel.get_subplotspec()
            curves = {line.get_label(): list(zip(*map(list, line.get_data()), strict=True)) for line in panel.lines}
            seen[at.rowspan.start, at.colspan.start] = (panel.get_title(), panel.get_ylabel(), curves)

    with mock.patch.object(Figure, "savefig", savefig):
        plot_curves(folder)
    return seen


FIRST = {"stage": "1-intermediate", "loss": 3.0, "attention": 2.0, "hidden": 1.0, "grad_norm": 9.0}
SECOND = {"stage": "2-prediction", "loss": 1.0, "grad_norm": 9.0, "steps_per_second": 4.0}
SCORED = {"stage": "2-prediction", "step": 5, "held_out_exact": 50.0, "held_out_f1": 60.0}


def test_terms_rates_and_held_out_scores_are_drawn_below_each_other(tmp_path):
    write(
        tmp_path,
        {**FIRST, "step": 2, "learning_rate": 0.1},
        {**FIRST, "step": 4, "loss": 2.0, "learning_rate": 0.2},
        {**SECOND, "step": 5, "learning_rate": 0.3},
        SCORED,
    )
    assert drawn(tmp_path) == {
        (0, 0): (
            "1-intermediate",
            "loss and its terms",
            {"loss": [(2, 3.0), (4, 2.0)], "attention": [(2, 2.0), (4, 2.0)], "hidden": [(2, 1.0), (4, 1.0)]},
        ),
        (0, 1): ("2-prediction", "loss and its terms", {"loss": [(5, 1.0)]}),
        (1, 0): ("", "learning rate", {"learning rate": [(2, 0.1), (4, 0.2)]}),
        (1, 1): ("", "learning rate", {"learning rate": [(5, 0.3)]}),
        (2, 0): ("", "", {}),
        (2, 1): ("", "held-out questions, %", {"held out exact": [(5, 50.0)], "held out f1": [(5, 60.0)]}),
    }


def test_a_run_that_is_not_scored_has_no_room_for_scores(tmp_path):
    write(tmp_path, {**FIRST, "step": 1})
    assert drawn(tmp_path).keys() == {(0, 0)}


@pytest.mark.parametrize("loss", [1.0, 0.0, -1.0])
def test_a_picture_is_written_and_nothing_else(tmp_path, loss):
    write(tmp_path, *({**FIRST, "step": step, "loss": loss} for step in range(1, 50)))
    plot_curves(tmp_path)
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert {path.name for path in tmp_path.iterdir()} == {"metrics.jsonl", "curves.png"}


def test_no_curves_without_metrics(tmp_path):
    with pytest.raises(UserError, match="no metrics in"):
        plot_curves(tmp_path)


def test_without_matplotlib_a_line_names_the_extra(tmp_path, monkeypatch):
    write(tmp_path, {**FIRST, "step": 1})
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)  # importing it raises
    with pytest.warns(UserWarning, match=r"curves\.png needs matplotlib: pip install 'tinybert-jax\[plots\]'"):
        plot_curves(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.jsonl"]

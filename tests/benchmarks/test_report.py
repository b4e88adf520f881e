import importlib.util
import json

import pytest

from benchmarks import report
from benchmarks.common import Job, Shape, step_flops
from tests.benchmarks import command

SIZES = "--layers-teacher 2 --layers-student 1 --hidden 16 --heads 2 --intermediate 24 --batch 3 --vocab 1500"


def system(name, windows, memory, seconds=()):
    row = {"system": name, "windows_per_second": windows, "peak_bytes": memory}
    return row | {"seconds": {64: list(seconds)}}


def test_figures_are_those_of_the_faster_of_ours():
    shape = Shape(length=64)
    peak = step_flops(shape, Job(1), 64) / 0.2  # a step at the peak takes 0.2 s
    rows = [system("A", 2, 900), system("C", 5, 500)]
    rows += [system(report.OURS[0], 8, 450, [0.5, 0.3, 0.4]), system(report.OURS[1], 4, 100, [0.1])]
    job = {"systems": rows, "peaks": {"jax float32": peak / 2, "jax bfloat16": peak}}
    assert report.choose_ours({row["system"]: row for row in rows}) == report.OURS[0]
    assert [tuple(figure.row.values()) for figure in report.step_figures(job, shape, "gpu")] == [
        ("of the matmul peak, 64 tokens", "≥ 50%", "50%", "reached"),
        ("windows/s over A", "≥ 8×", "4×", "missed"),
        ("windows/s over B", "≥ 3×", "not run", ""),
        ("windows/s over C", "≥ 1.3×", "1.6×", "reached"),
        ("peak memory over A's", "≤ 0.333×", "0.5×", "missed"),
    ]
    on_cpu = [figure.row["measured"] for figure in report.step_figures(job, shape, "cpu")]
    assert on_cpu == ["4×", "not run", "0.5×"]


def test_augmentation_is_the_recommended_presets_over_each_loop():
    rates = {"ours": [9, 30, 12], "ours, whole": [1], "haystack's way": [2], "Huawei's way": [1, 1]}
    assert [figure.measured for figure in report.augment_figures(rates)] == [6, 12]
    assert [figure.measured for figure in report.augment_figures({"ours": [3]})] == [None, None]


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """What one command printed, and its folder: it runs step, recipe and augment."""
    folder = tmp_path_factory.mktemp("report")
    flags = "--device cpu --length 48 --rounds 1 --steps 1 --matmul 64 --paragraphs 1"
    ended = command.run("report", *SIZES.split(), *flags.split(), "--output", folder)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout, folder


def test_one_command_measures_all(ran):
    printed, folder = ran
    assert sorted(path.name for path in folder.iterdir()) == [
        f"{name}.{kind}" for name in ("augment", "recipe", "step") for kind in ("json", "md")
    ]
    hours = json.loads((folder / "recipe.json").read_text())["total_seconds"] / 3600
    assert f"The published recipe would take {hours:.3g} h." in printed


def test_every_system_is_measured_in_figures_and_in_words(ran):
    printed, folder = ran
    (job,) = json.loads((folder / "step.json").read_text())["results"]
    words, rows = (folder / "step.md").read_text(), {row["system"]: row for row in job["systems"]}
    ours = rows["ours-recommended-float32"]
    assert "| ours, recommended, float32 |" in words
    assert ours["windows_per_second"] == pytest.approx(3 / ours["seconds"]["48"][0])
    assert ours["real_tokens_per_second"] < ours["padded_tokens_per_second"]
    assert ours["temp_bytes"] > 0 and ours["peak_bytes"] > 0
    if importlib.util.find_spec("torch") is None:
        assert "A: PyTorch as haystack ran it, float32: left out" in words
        return
    assert {"A", "C"} <= rows.keys()
    best = max(rows[name]["windows_per_second"] for name in rows if name.startswith("ours"))
    assert f"| windows/s over A | ≥ 3.5× | {best / rows['A']['windows_per_second']:.3g}× |" in printed
    assert {"jax float32", "torch float32"} <= job["peaks"].keys()

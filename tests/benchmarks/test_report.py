import importlib.util
import re

import pytest

from benchmarks import report
from benchmarks.common import Shape, step_flops
from tests.benchmarks import command

SIZES = "--layers-teacher 1 --layers-student 1 --hidden 16 --heads 2 --intermediate 24 --batch 3 --vocab 1500"


def system(name, windows, memory, seconds=()):
    row = {"system": name, "windows_per_second": windows, "peak_bytes": memory}
    return row | {"seconds": {64: list(seconds)}}


def test_figures_are_those_of_the_faster_of_ours():
    shape = Shape(length=64)
    peak = step_flops(shape, 1, 64) / 0.2  # a step at the peak takes 0.2 s
    rows = [system("A", 2, 900), system("C", 5, 500)]
    rows += [system(report.OURS[0], 8, 450, [0.5, 0.3, 0.4]), system(report.OURS[1], 4, 100, [0.1])]
    by_name = {row["system"]: row for row in rows}
    assert report.choose_ours(by_name) == report.OURS[0]
    assert [tuple(figure.row.values()) for figure in report.step_figures(by_name, peak, shape, "gpu")] == [
        ("of the matmul peak, 64 tokens", "≥ 50%", "50%", "reached"),
        ("windows/s over A", "≥ 8×", "4×", "missed"),
        ("windows/s over B", "≥ 3×", "not run", ""),
        ("windows/s over C", "≥ 1.3×", "1.6×", "reached"),
        ("peak memory over A's", "≤ 0.333×", "0.5×", "missed"),
    ]
    on_cpu = [figure.row["measured"] for figure in report.step_figures(by_name, peak, shape, "cpu")]
    assert on_cpu == ["4×", "not run", "0.5×"]


def test_augmentation_is_the_recommended_presets_over_each_loop():
    rates = {"ours": [9, 30, 12], "ours, whole": [1], "haystack's way": [2], "Huawei's way": [1, 1]}
    assert [figure.measured for figure in report.augment_figures(rates)] == [6, 12]
    assert [figure.measured for figure in report.augment_figures({"ours": [3]})] == [None, None]


def test_one_command_measures_all():
    """It runs step, recipe and augment, and prints what each of them found above the table."""
    flags = "--device cpu --length 48 --rounds 1 --steps 1 --paragraphs 1"
    ended = command.run("report", *SIZES.split(), *flags.split())
    assert ended.returncode == 0, ended.stderr
    of_step, of_recipe, of_augment, figures = re.split("^## .*$", ended.stdout, flags=re.MULTILINE)[1:]
    assert "| ours, recommended, float32 |" in of_step and "- Matrix products, TFLOP/s: " in of_step
    assert "| **all** |" in of_recipe and "| ours |" in of_augment
    assert len(re.findall(r"^\| (?:windows/s|peak memory|augmentation) over .*$", figures, re.MULTILINE)) == 5
    if importlib.util.find_spec("torch") is None:
        assert "A: PyTorch as haystack ran it, float32: left out" in of_step
        return
    ours = [float(rate) for rate in re.findall(r"^\| ours, recommended.*?\|.*?\| ([\d.]+)× ", of_step, re.MULTILINE)]
    (over,) = re.findall(r"\| windows/s over A \| ≥ 3.5× \| ([\d.]+)× \|", figures)
    assert float(over) == pytest.approx(max(ours), rel=0.01)
    assert "torch float32" in of_step and "jax float32" in of_step

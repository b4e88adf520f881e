import importlib.util
import json
from functools import partial
from pathlib import Path

import pytest

from tests.benchmarks import command

ROOT = Path(__file__).parents[2]
SIZES = "--layers-teacher 2 --layers-student 1 --hidden 16 --heads 2 --intermediate 24 --batch 3 --vocab 1500"

run = partial(command.run, "report.py", "--device", "cpu", *SIZES.split())


@pytest.fixture
def report(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import report

    return report


def system(name, windows, memory):
    return {"system": name, "windows_per_second": windows, "peak_bytes": memory}


def test_figures_are_those_of_the_faster_of_ours(report):
    from common import Job, Shape, step_flops

    shape = Shape(length=64)
    peak = step_flops(shape, Job(1), 64) / 0.2  # a step at the peak takes 0.2 s
    rows = [system("A", 2, 900), system("C", 5, 500), system(report.OURS[0], 8, 450), system(report.OURS[1], 4, 100)]
    rounds = {report.OURS[0]: [0.5, 0.3, 0.4], report.OURS[1]: [0.1]}
    measured = {name: {"rounds": [{"64": {"seconds": s}} for s in seconds]} for name, seconds in rounds.items()}
    step = {
        "results": [{"systems": rows, "measured": measured}],
        "probes": {"jax": {"peaks": {"float32": peak / 2, "bfloat16": peak}}},
    }
    assert report.choose_ours({row["system"]: row for row in rows}) == report.OURS[0]
    assert [figure.cells for figure in report.step_figures(step, shape, "gpu")] == [
        ("of the matmul peak, 64 tokens", "≥ 50%", "50%", "reached"),
        ("windows/s over A", "≥ 8×", "4×", "missed"),
        ("windows/s over B", "≥ 3×", "not run", ""),
        ("windows/s over C", "≥ 1.3×", "1.6×", "reached"),
        ("peak memory over A's", "≤ 0.333×", "0.5×", "missed"),
    ]
    assert [figure.cells[2] for figure in report.step_figures(step, shape, "cpu")] == ["4×", "not run", "0.5×"]


def test_augmentation_is_the_recommended_presets_over_each_loop(report):
    rates = {"arguments": {}, "ours": [9, 30, 12], "ours, whole": [1], "haystack's way": [2], "Huawei's way": [1, 1]}
    assert [figure.measured for figure in report.augment_figures(rates)] == [6, 12]
    assert [figure.measured for figure in report.augment_figures({"ours": [3]})] == [None, None]


@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="the peers need PyTorch")
def test_one_command_measures_all_and_prints_the_table(tmp_path):
    flags = "--length 96 --rounds 1 --steps 1 --matmul 64 --paragraphs 1"
    ended = run(*flags.split(), "--output", str(tmp_path))
    assert ended.returncode == 0, ended.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        f"{name}.{kind}" for name in ("augment", "recipe", "step") for kind in ("json", "md")
    ]
    rows = {row["system"]: row for row in json.loads((tmp_path / "step.json").read_text())["results"][0]["systems"]}
    ours = max(rows[name]["windows_per_second"] for name in rows if name.startswith("ours"))
    assert f"| windows/s over A | ≥ 3.5× | {ours / rows['A']['windows_per_second']:.3g}× |" in ended.stdout
    hours = json.loads((tmp_path / "recipe.json").read_text())["total_seconds"] / 3600
    assert f"The seed's recipe would take {hours:.3g} h." in ended.stdout


def test_a_benchmark_that_fails_ends_it(tmp_path):
    ended = run("--matmul", "64", "--data", "squad.json", "--output", str(tmp_path))
    assert ended.returncode == 2
    assert "--data and --tokenizer go together" in ended.stderr
    assert "error: step.py ended with status 2" in ended.stderr
    assert "Traceback" not in ended.stderr

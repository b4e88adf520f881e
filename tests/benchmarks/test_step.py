import re

import jax
import pytest
import tyro

from benchmarks import common, ours, step
from benchmarks.common import Shape, step_flops
from benchmarks.workload import Workload
from tinybert_jax.errors import UserError


def test_figures_are_medians_over_rounds_of_the_epochs_mean():
    shape = Shape(2, 1, hidden=16, heads=2, intermediate=24, batch=3)
    load = Workload({32: [], 64: []}, {32: 0.75, 64: 0.25}, mean_tokens=20.0)
    seconds = ({32: 1.0, 64: 3.0}, {32: 0.4, 64: 0.8}, {32: 2.0, 64: 6.0})  # in the mean 1.5, 0.5, 3
    rounds = [{"seconds": one, "bytes": 7 + number} for number, one in enumerate(seconds)]
    flops = 0.75 * step_flops(shape, 1, 32) + 0.25 * step_flops(shape, 1, 64)
    measured = {"rounds": rounds, "facts": {"temp_bytes": 5}}
    row = step.summarise("ours-recommended-float32", measured, step.Args(shape), load, peak=flops)
    assert row["windows_per_second_rounds"] == pytest.approx([2, 6, 1])
    assert row["windows_per_second"] == pytest.approx(2)
    assert row["model_flop_utilisation"] == pytest.approx(2 / 3)  # 2 / 3 steps a second
    assert (row["peak_bytes"], row["temp_bytes"], row["seconds"][64]) == (9, 5, [3.0, 0.8, 6.0])


def test_flops_of_a_step():
    shape = Shape(2, 1, hidden=1, heads=1, intermediate=1, batch=1)
    forward = 2 * 10 * 6 + 4 * 100
    assert step_flops(shape, 1, 10) == forward * (3 + 2)
    assert step_flops(shape, 2, 10) == forward * 3


def test_the_table_says_how_far_ahead_of_the_peers_each_is():
    row = {
        "windows_per_second_rounds": [1.0],
        "model_flop_utilisation": 0.5,
        "peak_bytes": 2**21,
        "device": "a processor",
    }
    rows = [row | {"system": "C", "windows_per_second": 2.0, "note": "as it is"}]
    rows += [row | {"system": "ours-recommended-float32", "windows_per_second": 3.0, "temp_bytes": 2**20}]
    printed = step.report(rows, {"jax float32": 3e12})
    assert "| C: best-effort PyTorch | 1 (1–1) | 1.00× | 50.0% | 2 | – |" in printed
    assert "| ours, recommended, float32 | 1 (1–1) | 1.50× | 50.0% | 2 | 1 |" in printed
    assert printed.endswith("- On a processor.\n- Matrix products, TFLOP/s: jax float32 3.\n- C: as it is.")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: step.Args(rounds=0), "rounds must be at least 1, got 0"),
        (lambda: step.Args(Shape(heads=5)), "hidden must be a multiple of 5, got 768"),
        (lambda: step.Args(Shape(layers_student=5)), "layers_teacher must be a multiple of 5, got 12"),
    ],
)
def test_says_what_is_wrong(make, message):
    with pytest.raises(UserError, match=re.escape(message)):
        make()


def test_an_unknown_system_is_refused(capsys):
    with pytest.raises(SystemExit):
        tyro.cli(step.main, args=["--args.systems", "D"])
    assert "'D'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--rounds", "0"], "rounds must be at least 1, got 0"),
        (["--data", "squad.json"], "--data and --tokenizer go together"),
    ],
)
def test_a_command_line_that_is_wrong_ends_without_a_traceback(flags, message, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["step", *flags])
    monkeypatch.setattr("benchmarks.common.keep_freed_memory", lambda: None)  # the process is the tests'
    with pytest.raises(SystemExit) as ended:
        common.command(step.main, step.__doc__)
    assert ended.value.code == 2
    printed = capsys.readouterr()
    assert message in printed.err and not printed.out


def test_a_gpu_that_is_not_there_is_an_error():
    if any(device.platform == "gpu" for device in jax.devices()):
        pytest.skip("there is a GPU")
    with pytest.raises(UserError, match=r"--device gpu needs a GPU, and jax .* sees none"):
        ours.products(8, "gpu")

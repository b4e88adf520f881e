"""The record of a run: when it reads the device, what it writes, and how it goes on after a crash."""

import io
import json
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tinybert_jax.errors import UserError
from tinybert_jax.tracking import Tracker, read_metrics


def track(folder, losses, *, stage="predict", start=0, log_every=2, total=None):
    total = start + len(losses) if total is None else total
    with Tracker(folder, stage=stage, total_steps=total, start_step=start, log_every=log_every) as tracker:
        for step, loss in enumerate(losses, start=start + 1):
            tracker.record(step, {"loss": jnp.float32(loss), "grad_norm": jnp.float32(2 * loss)})


def logged(folder) -> list[tuple]:
    return [(line["stage"], line["step"], line["loss"]) for line in read_metrics(folder)]


def test_lines_hold_the_means_of_intervals(tmp_path):
    track(tmp_path / "new", [1, 2, 4, 6, 5])
    lines = read_metrics(tmp_path / "new")
    assert [(line["step"], line["loss"], line["grad_norm"]) for line in lines] == [
        (2, 1.5, 3.0),
        (4, 5.0, 10.0),
        (5, 5.0, 10.0),  # the rest, at the end
    ]
    assert list(lines[0]) == ["stage", "step", "loss", "grad_norm", "steps_per_second"]
    assert all(line["steps_per_second"] > 0 for line in lines)


class OnDevice:
    """A scalar that counts how often it is read."""

    reads = 0

    def __array__(self, dtype=None, copy=None):
        OnDevice.reads += 1
        return np.array(1.0, np.float32)


def test_the_device_is_read_once_an_interval(tmp_path, monkeypatch):
    calls = []
    fetch = jax.device_get
    monkeypatch.setattr(jax, "device_get", lambda tree: calls.append(len(tree)) or fetch(tree))
    OnDevice.reads = 0
    with Tracker(tmp_path, stage="a", total_steps=10, start_step=0, log_every=4) as tracker:
        for step in range(1, 4):
            tracker.record(step, {"loss": OnDevice()})
        assert OnDevice.reads == 0
        for step in range(4, 11):
            tracker.record(step, {"loss": OnDevice()})
    assert calls == [4, 4, 2]
    assert OnDevice.reads == 10


def test_lines_are_on_disk_at_once(tmp_path):
    with Tracker(tmp_path, stage="a", total_steps=9, start_step=0, log_every=1) as tracker:
        tracker.record(1, {"loss": jnp.float32(3)})
        assert logged(tmp_path) == [("a", 1, 3.0)]


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_non_finite_loss_names_the_step(tmp_path, bad):
    with pytest.raises(UserError, match=rf"predict: loss must be finite, got {bad} at step 3; try"):
        track(tmp_path, [1, 2, bad, bad])
    assert logged(tmp_path) == [("predict", 2, 1.5)]


def test_an_exception_leaves_pending_steps_unread(tmp_path):
    with (
        pytest.raises(KeyboardInterrupt),
        Tracker(tmp_path, stage="a", total_steps=9, start_step=0, log_every=5) as tracker,
    ):
        tracker.record(1, {"loss": jnp.float32(3)})
        raise KeyboardInterrupt
    assert logged(tmp_path) == []


def test_resume_drops_what_is_trained_again(tmp_path):
    track(tmp_path, [9, 9], stage="first")
    track(tmp_path, [1, 1, 2, 2, 3, 3], stage="second")
    track(tmp_path, [5, 5], stage="second", start=4)  # the checkpoint was that of step 4
    assert logged(tmp_path) == [("first", 2, 9), ("second", 2, 1), ("second", 4, 2), ("second", 6, 5)]


def test_a_stage_begun_again_drops_all_its_lines(tmp_path):
    track(tmp_path, [9, 9], stage="first")
    track(tmp_path, [1, 1], stage="second")  # killed before its first checkpoint
    track(tmp_path, [4, 4], stage="second")
    assert logged(tmp_path) == [("first", 2, 9), ("second", 2, 4)]


def test_resume_between_two_intervals(tmp_path):
    track(tmp_path, [1, 1], log_every=2)
    track(tmp_path, [2, 3, 3], start=3, log_every=2)  # steps 4 to 6, intervals end at 4 and 6
    assert logged(tmp_path) == [("predict", 2, 1), ("predict", 4, 2), ("predict", 6, 3)]


@pytest.mark.parametrize("torn", ['{"stage": "predict", "st', '{"stage": "predict", "step": 3}', "\udcff"])
def test_a_torn_last_line_is_dropped(tmp_path, torn):
    track(tmp_path, [1, 1])
    with (tmp_path / "metrics.jsonl").open("a", encoding="utf-8", errors="surrogateescape") as file:
        file.write(torn)
    assert logged(tmp_path) == [("predict", 2, 1)]
    track(tmp_path, [2, 2], start=2)
    assert logged(tmp_path) == [("predict", 2, 1), ("predict", 4, 2)]
    for line in (tmp_path / "metrics.jsonl").read_text().splitlines():
        json.loads(line)


def test_a_damaged_line_is_not_hidden(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"stage": "a", "step": 1, "loss": 1}\noops\n')
    with pytest.raises(UserError, match=r"line 2 of .*metrics\.jsonl is not JSON"):
        track(tmp_path, [1])


def test_log_every_is_checked(tmp_path):
    with pytest.raises(UserError, match="log_every must be at least 1, got 0"):
        track(tmp_path, [1], log_every=0)


def test_plain_lines_where_stderr_is_no_terminal(tmp_path, capsys):
    track(tmp_path, [1, 2, 3, 4], total=4)
    out, err = capsys.readouterr()
    assert out == ""
    lines = err.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("predict: step 2/4 loss 1.5 grad_norm 3 (")
    assert lines[1].endswith("0:00:00 left)")


def test_a_bar_on_a_terminal(tmp_path, monkeypatch):
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", terminal)
    track(tmp_path, [1, 2, 3, 4], start=4, total=8)
    assert "8/8" in terminal.getvalue()
    assert "left)" not in terminal.getvalue()

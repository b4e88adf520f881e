"""Who is called when, with what, and in which order."""

import math
from pathlib import Path

import numpy as np
import pytest

from tinybert_jax.distill import Finetune
from tinybert_jax.errors import UserError
from tinybert_jax.run.hooks import Hook, Hooks, StageRun, Tracking, check_hooks
from tinybert_jax.run.recipe import Stage
from tinybert_jax.tracking import read_metrics


class Diary(Hook):
    """Notes what it is told in a list that it shares with others."""

    def __init__(self, name, told, every=1):
        self.name, self.told, self.every = name, told, every

    def start(self, run, publish):
        self.publish = publish
        self.told.append((self.name, "start", run.name))

    def step(self, done, state, metrics):
        self.told.append((self.name, "step", done))

    def record(self, line):
        self.told.append((self.name, "record", line["step"]))

    def end(self, error):
        self.told.append((self.name, "end", error and str(error)))


def stage_run(folder=Path(), steps=5):
    return StageRun(folder, "1-finetune", Stage(objective=Finetune()), network=None, steps=steps, start=0)


def test_hooks_are_called_in_order_and_every_some_steps_and_at_the_last():
    told = []
    with Hooks(stage_run(steps=5), (Diary("a", told), Diary("b", told, every=3))) as hooks:
        for done in range(1, 6):
            hooks.step(done, None, {})
    assert told[:2] == [("a", "start", "1-finetune"), ("b", "start", "1-finetune")]
    assert told[-2:] == [("a", "end", None), ("b", "end", None)]
    assert [entry for entry in told if entry[0] == "b" and entry[1] == "step"] == [("b", "step", 3), ("b", "step", 5)]
    assert told.index(("a", "step", 3)) + 1 == told.index(("b", "step", 3))


def test_every_hook_hears_what_one_publishes():
    told = []
    speaker = Diary("a", told)
    with Hooks(stage_run(), (speaker, Diary("b", told))):
        speaker.publish({"stage": "1-finetune", "step": 2})
    assert [entry for entry in told if entry[1] == "record"] == [("a", "record", 2), ("b", "record", 2)]


def test_one_finished_hook_ends_the_stage():
    hooks = Diary("a", []), Diary("b", [])
    together = Hooks(stage_run(), hooks)
    assert not together.finished
    hooks[1].finished = True
    assert together.finished


def test_every_started_hook_is_told_of_an_error():
    told = []
    with pytest.raises(ZeroDivisionError), Hooks(stage_run(), (Diary("a", told), Diary("b", told))):
        raise ZeroDivisionError("in a step")
    assert told[-2:] == [("a", "end", "in a step"), ("b", "end", "in a step")]


def test_a_hook_that_fails_to_start_or_to_end_leaves_the_others_ended():
    class NeverBegins(Diary):
        def start(self, run, publish):
            raise OSError("no disk")

    class NeverEnds(Diary):
        def end(self, error):
            raise OSError("still no disk")

    told = []
    with (
        pytest.raises(OSError, match="no disk"),
        Hooks(stage_run(), (Diary("a", told), NeverBegins("b", told), Diary("c", told))),
    ):
        pytest.fail("never begins")
    # What has not begun is not ended: its own complaint would hide the cause.
    assert told == [("a", "start", "1-finetune"), ("a", "end", "no disk")]
    told.clear()
    with (
        pytest.raises(OSError, match="still no disk"),
        Hooks(stage_run(), (Diary("a", told), NeverEnds("b", told), Diary("c", told))),
    ):
        pass
    assert [line[:2] for line in told if line[1] == "end"] == [("a", "end"), ("c", "end")]


def test_a_hook_that_could_never_be_due_is_refused():
    with pytest.raises(UserError, match=r"Diary\.every must be at least 1, got 0"):
        check_hooks([Diary("a", [], every=0)])


def test_a_hook_that_could_not_do_its_work_is_refused():
    class Unable(Hook):
        def check(self):
            raise UserError("no pen")

    with pytest.raises(UserError, match="no pen"):
        check_hooks([Hook(), Unable()])


def test_tracking_writes_means_and_what_others_publish_before_they_are_ended(tmp_path):
    told = []
    other = Diary("b", told)
    with Hooks(stage_run(tmp_path, steps=3), (Tracking(log_every=2), other)) as hooks:
        for done in range(1, 4):
            hooks.step(done, None, {"loss": float(done)})
            if done == 2:
                other.publish({"stage": "1-finetune", "step": 2, "mine": 7})
    lines = [(line["step"], line.get("loss"), line.get("mine")) for line in read_metrics(tmp_path)]
    assert lines == [(2, 1.5, None), (2, None, 7), (3, 3.0, None)]
    assert [entry[2] for entry in told if entry[1] == "record"] == [2, 2, 3]
    assert told[-1] == ("b", "end", None)


def test_the_rate_told_is_that_of_the_updates_that_counted(tmp_path):
    run = stage_run(tmp_path, steps=4)
    with Hooks(run, (Tracking(log_every=1, skip_bad=1),)) as hooks:
        for done in range(1, 5):
            hooks.step(done, None, {"loss": 1.0, "grad_norm": math.nan if done == 2 else 1.0})
    rates = [line["learning_rate"] / run.stage.learning_rate for line in read_metrics(tmp_path)]
    np.testing.assert_allclose(rates, [1, 1, 0.75, 0.5])

"""What trackers are sent, read back from where they keep it."""

import struct
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from tinybert_jax.distill import Finetune
from tinybert_jax.errors import UserError
from tinybert_jax.run.command_line import parse
from tinybert_jax.run.hooks import Hooks, StageRun, Tracking
from tinybert_jax.run.recipe import Stage
from tinybert_jax.run.trackers import TRACKERS
from tinybert_jax.tracking import read_metrics


def track(folder, hook, *, start=0, steps=4, error=None):
    """A stage of a few steps, whose lines the hook gets as they come."""
    stage = Stage(objective=Finetune(), learning_rate=0.1, warmup=0.0)
    run = StageRun(folder, "1-finetune", stage, network=None, steps=steps, start=start)
    with Hooks(run, (Tracking(log_every=2), hook)) as hooks:
        for done in range(start + 1, steps + 1):
            hooks.step(done, None, {"loss": float(done)})
        if error is not None:
            raise error


def events(folder):
    """The scalars of all event files in a folder: {(name, step): value}."""
    from tensorboardX.proto.event_pb2 import Event

    found = {}
    for path in sorted(folder.iterdir()):
        content, at = path.read_bytes(), 0
        while at < len(content):  # records: length, its checksum, as many bytes, their checksum
            (length,) = struct.unpack_from("<Q", content, at)
            event = Event.FromString(content[at + 12 : at + 12 + length])
            found |= {(value.tag, event.step): value.simple_value for value in event.summary.value}
            at += 16 + length
    return found


def test_tensorboard_gets_what_metrics_jsonl_gets(tmp_path):
    pytest.importorskip("tensorboardX")
    track(tmp_path, TRACKERS["tensorboard"]())
    written = {
        (name, line["step"]): value
        for line in read_metrics(tmp_path)
        for name, value in line.items()
        if name not in ("stage", "step")
    }
    assert {("loss", 2): 1.5, ("loss", 4): 3.5}.items() <= written.items()
    assert {name for name, _ in written} == {"loss", "learning_rate", "steps_per_second"}
    assert events(tmp_path / "tensorboard" / "1-finetune") == pytest.approx(written)


def test_the_learning_rate_is_that_of_the_line_s_last_step(tmp_path):
    track(tmp_path, TRACKERS["tensorboard"](), steps=5)
    rates = {line["step"]: line["learning_rate"] for line in read_metrics(tmp_path)}
    assert rates == pytest.approx({2: 0.08, 4: 0.04, 5: 0.02})  # 0.1 · (1 − done before / 5)


class FakeWandb(SimpleNamespace):
    """Notes what a run there is told."""

    def __init__(self):
        super().__init__(told=[])

    def init(self, **settings):
        self.told.append(settings)
        return SimpleNamespace(
            log=lambda figures, step: self.told.append((step, figures)),
            finish=lambda exit_code: self.told.append(exit_code),
        )


def test_wandb_gets_a_run_a_stage_that_it_goes_on_with(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", fake := FakeWandb())
    monkeypatch.setattr("tinybert_jax.extras.version", {"wandb": "0.19"}.__getitem__)  # the package is none of dev's
    folder = tmp_path / "my-run" / "student"
    track(folder, TRACKERS["wandb"](), steps=2)
    settings, (step, figures), status = fake.told
    assert (settings["group"], settings["name"]) == ("my-run", "my-run/student/1-finetune")
    assert (settings["resume"], settings["dir"]) == ("allow", folder)
    assert settings["config"]["learning_rate"] == 0.1 and settings["config"]["objective"]["type"] == "finetune"
    assert (step, status) == (2, 0)
    assert figures == {name: value for name, value in read_metrics(folder)[0].items() if name not in ("stage", "step")}
    with pytest.raises(ZeroDivisionError):
        track(folder, TRACKERS["wandb"](), start=2, error=ZeroDivisionError())
    assert fake.told[3]["id"] == settings["id"]
    assert fake.told[-1] == 1


@pytest.mark.parametrize(("name", "module"), [("tensorboard", "tensorboardX"), ("wandb", "wandb")])
def test_without_its_extra_a_tracker_is_refused_before_any_work(monkeypatch, name, module):
    monkeypatch.setitem(sys.modules, module, None)  # importing it raises
    message = rf"{module} must be installed for this, .*: pip install 'tinybert-jax\[{name}\]'"
    with pytest.raises(UserError, match=message):
        TRACKERS[name]().check()


def test_a_tracker_is_no_part_of_the_recipe():
    recipe, output, hooks = parse(["quickstart", "--output", "x", "--report-to", "tensorboard"])
    assert [type(hook).__name__ for hook in hooks] == ["TensorBoard"]
    assert parse(["quickstart", "--output", "x", "--report-to", "none"]) == (recipe, Path("x"), ()) and output == Path(
        "x"
    )
    with pytest.raises(SystemExit):
        parse(["quickstart", "--output", "x", "--report-to", "paper"])

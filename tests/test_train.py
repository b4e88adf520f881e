"""The whole road on a model a few thousand parameters small: results, resuming, stopping, and refusals."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import jax
import numpy as np
import pytest

import tinybert_jax
from tests import forked
from tests.tiny_run import tiny_arguments
from tinybert_jax import train
from tinybert_jax.errors import run_script as run_in_process
from tinybert_jax.inference import JaxNetwork, predict_logits
from tinybert_jax.run import stages
from tinybert_jax.synthetic.generate import train_tokenizer
from tinybert_jax.tracking import read_metrics

pytestmark = pytest.mark.usefixtures("compiled_quickly")

ROOT = Path(__file__).parents[1]


def run_script(*arguments, **options):
    command = [sys.executable, "train.py", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, **options)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def finished(tmp_path_factory, cache):
    """An uninterrupted run: its folder and what `train` returned."""
    output = tmp_path_factory.mktemp("run") / "whole"
    results = train.train(*train.parse(tiny_arguments(cache, "--output", str(output))))
    return output, results


def same_params(one: Path, other: Path) -> bool:
    trees = [tinybert_jax.load_pretrained(folder)[1] for folder in (one, other)]
    return jax.tree.all(jax.tree.map(np.array_equal, *trees))


def test_results_have_the_promised_form(finished):
    output, results = finished
    assert json.loads((output / "results.json").read_text()) == results
    assert set(results) == {"teacher", "student", "student_without_distillation", "seconds"}
    for model in ("teacher", "student", "student_without_distillation"):
        assert set(results[model]) == {"exact", "f1"}
        metrics = json.loads((output / model / "metrics.json").read_text())
        assert round(metrics["f1"], 2) == results[model]["f1"]
        assert {"predictions.json", "null_odds.json", "metrics.jsonl", "curves.png"} <= {
            path.name for path in (output / model).iterdir()
        }


def test_the_export_is_the_student_after_its_last_stage(finished):
    output, results = finished
    assert same_params(output / "export", output / "student" / "2-prediction" / "final")
    assert f"| {results['student']['f1']:.2f} |" in (output / "export" / "README.md").read_text()
    assert "1 ← 2" in (output / "export" / "README.md").read_text()


def test_the_undistilled_student_trains_for_as_many_steps(finished):
    output, _ = finished
    last_steps = {}
    for model in ("student", "student_without_distillation"):
        for line in read_metrics(output / model):
            last_steps[model, line["stage"]] = line["step"]
    assert last_steps == {
        ("student", "1-intermediate"): 150,
        ("student", "2-prediction"): 10,
        ("student_without_distillation", "1-finetune"): 160,
    }


def test_training_moves_every_loss_down(finished):
    output, _ = finished
    losses = [line["loss"] for line in read_metrics(output / "student") if line["stage"] == "1-intermediate"]
    assert losses[-1] < losses[0] / 2


def test_a_finished_run_given_again_trains_nothing(finished, cache, monkeypatch):
    output, results = finished
    monkeypatch.setattr(stages, "make_train_step", lambda *_: pytest.fail("a finished stage was trained again"))
    again = train.train(*train.parse(tiny_arguments(cache, "--output", str(output))))
    assert {**again, "seconds": 0} == {**results, "seconds": 0}


@pytest.mark.parametrize("kept", ["float16", "off"])
def test_stage_2_runs_no_teacher_where_all_teachers_logits_are_cached(finished, cache, tmp_path, monkeypatch, kept):
    synthetic, trained = finished[0] / "synthetic", str(finished[0] / "teacher" / "1-finetune" / "final")
    models = {"student": str(synthetic / "student"), "teacher": trained}
    models["more_teachers"] = (str(synthetic / "teacher"),) if kept == "float16" else ()
    recipe, *_ = train.parse(tiny_arguments(cache, "--output", str(tmp_path)))
    stage = dataclasses.replace(recipe.stages[1], max_steps=1)
    data = {"train": str(synthetic / "dev.json"), "dev": str(synthetic / "dev.json"), "synthetic": None}
    settings = {"teacher_stages": (), "teacher_cache": kept, "dtype": "float32"}
    recipe = dataclasses.replace(recipe, stages=(stage,), **settings, **models, **data)
    ingredients, seen = train.prepare(recipe, tmp_path), []
    build = stages.make_train_step

    def watched(student, teacher, *rest):
        step = build(student, teacher, *rest)

        def watched_step(state, teacher_params, batch, key):
            seen.append((teacher, teacher_params, batch))
            return step(state, teacher_params, batch, key)

        return watched_step

    monkeypatch.setattr(stages, "make_train_step", watched)
    run = train.Run(recipe, ingredients, tmp_path)
    train.train_stage(train.Work("student/1-prediction", stage, ingredients.student, ingredients.teacher), run)
    ((teacher, teacher_params, batch),) = seen
    if kept == "off":
        assert teacher is not None and teacher_params is not None and batch.teacher_logits is None
        return
    assert teacher is None and teacher_params is None
    teachers, windows = (ingredients.teacher, *ingredients.more_teachers), ingredients.train.windows
    assert len(teachers) == 2
    logits = [predict_logits(JaxNetwork(model), windows, buckets=(128,)) for model in teachers]
    expected = train.epochs_of(stage, recipe, ingredients, logits).batch_at(0)
    np.testing.assert_allclose(batch.teacher_logits, expected.teacher_logits, atol=2e-3)
    assert np.ptp(logits[0] - logits[1]) > 0.1


def test_a_stopped_run_continues_to_the_same_bits(finished, cache, tmp_path, monkeypatch):
    """Stopped in stage 1, at whatever step it is then, and started again by the same command.

    What becomes of one that is killed: `test_chaos.py`.
    """
    output = tmp_path / "killed"
    arguments = tiny_arguments(cache, "--output", str(output))
    process, err = forked.start(["train.py", *arguments], ROOT, tmp_path), tmp_path / "err"
    checkpoints, final = output / "student" / "1-intermediate" / "checkpoints", output / "student/1-intermediate/final"
    deadline = time.monotonic() + 200
    while not any(checkpoints.glob("[0-9]*0")):
        assert process.is_alive() and time.monotonic() < deadline, err.read_text()
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGTERM)
    process.join()
    said = err.read_text()
    assert not final.exists(), "the run ended before it could be stopped"
    assert process.exitcode == 128 + signal.SIGTERM
    assert "the same command continues" in said

    whole, _ = finished
    monkeypatch.setattr("tinybert_jax.run.hooks.plot_curves", lambda folder: None)  # seconds, and not of its bits
    train.train(*train.parse(arguments))
    for stage in ("student/1-intermediate/final", "export", "student_without_distillation/1-finetune/final"):
        assert same_params(whole / stage, output / stage)
    # A run that stops between two lines of metrics.jsonl splits one interval: those means alone may differ.
    differing = read_losses(whole).items() ^ read_losses(output).items()
    assert len({key for key, _ in differing}) <= 2


def read_losses(output: Path) -> dict:
    lines = read_metrics(output / "student")
    losses = {(line["stage"], line["step"]): line["loss"] for line in lines}
    assert len(losses) == len(lines), "a step was recorded twice"
    return losses


def test_another_recipe_is_refused_in_the_same_folder(finished, cache):
    output, _ = finished
    arguments = tiny_arguments(cache, "--output", str(output), "--stages.0.learning-rate", "0.5")
    with pytest.raises(tinybert_jax.UserError, match=r"different in stages\.0\.learning_rate"):
        train.train(*train.parse(arguments))


def test_a_folder_with_something_else_is_refused(cache, tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(tinybert_jax.UserError, match="holds no run of ours"):
        train.train(*train.parse(tiny_arguments(cache, "--output", str(tmp_path))))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (["--train", "missing.json"], "missing.json"),
        (["--teacher", "nowhere/at/all"], "no folder 'nowhere/at/all'"),
        (["--more-teachers", "nowhere/at/all"], "no folder 'nowhere/at/all'"),
        (["--windows.max-seq-len", "600"], "max_seq_len 600 is over the model's"),
        (["--windows.max-seq-len", "32"], "raise max_seq_len"),
        (["--stages.0.objective.hidden-map", "3"], "a layer map must name one teacher layer from 1 to 2"),
    ],
)
def test_bad_input_is_refused_before_anything_is_claimed(finished, cache, tmp_path, override, message):
    synthetic = finished[0] / "synthetic"
    paths = ["--teacher", synthetic / "teacher", "--student", synthetic / "student", "--student-from-teacher", "None"]
    paths += ["--train", synthetic / "train.json", "--dev", synthetic / "dev.json"]
    arguments = ["minilm-3l-squad2", "--cache", cache, *paths, *override, "--output", tmp_path / "run"]
    arguments += [] if "--windows.max-seq-len" in override else ["--windows.max-seq-len", "128"]
    arguments += ["--windows.doc-stride", "16", "--buckets"]
    with pytest.raises(tinybert_jax.UserError, match=message):
        train.train(*train.parse([*map(str, arguments)]))
    assert not (tmp_path / "run").exists()


def test_layers_that_do_not_divide_need_a_map(finished, cache, tmp_path):
    arguments = tiny_arguments(cache, "--synthetic.teacher.num-hidden-layers", "3", "--output", str(tmp_path / "run"))
    arguments += ["--synthetic.student.num-hidden-layers", "2"]
    with pytest.raises(tinybert_jax.UserError, match="2 layers do not divide the teacher's 3"):
        train.train(*train.parse(arguments))


def test_models_of_different_vocabularies_are_refused(finished, cache, tmp_path):
    synthetic, teacher = finished[0] / "synthetic", tmp_path / "teacher"
    tokenizer = train_tokenizer(json.loads((synthetic / "dev.json").read_text()), 600)
    tinybert_jax.save_pretrained(teacher, *tinybert_jax.load_pretrained(synthetic / "teacher"), tokenizer)
    arguments = ["minilm-3l-squad2", "--student-from-teacher", "None", "--student", synthetic / "student"]
    for teachers in (["--teacher", teacher], ["--teacher", synthetic / "teacher", "--more-teachers", teacher]):
        with pytest.raises(tinybert_jax.UserError, match=f"must share one vocabulary, .* tokens in {teacher} and"):
            train.train(*train.parse([*map(str, [*arguments, *teachers]), "--output", str(tmp_path / "run")]))


def test_user_mistakes_end_with_one_line_and_status_2(tmp_path):
    arguments = ["finetune-teacher", "--student", "nobody/nothing", "--output", tmp_path / "run"]
    ended = run_script(*arguments, env={**os.environ, "HF_HUB_OFFLINE": "1"})
    assert ended.returncode == 2, ended.stderr
    assert "Traceback" not in ended.stderr and ended.stderr.strip()
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "arguments",
    [["no-such-recipe"], ["quickstart", "--no-such-option", "1"], ["quickstart", "--stages.0.epochs", "0"]],
    ids=" ".join,
)
def test_command_lines_that_are_wrong_end_so_before_anything_is_set_up(arguments, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["train.py", *arguments, "--output", str(tmp_path / "run")])
    monkeypatch.setattr("warnings.formatwarning", warnings.formatwarning)  # a script has one of its own
    monkeypatch.setattr(train, "configure", lambda _: pytest.fail("the process was set up"))
    with pytest.raises(SystemExit) as ended:
        run_in_process(train.main)
    assert ended.value.code == 2
    printed = capsys.readouterr()
    assert printed.err.strip() and not printed.out
    assert not (tmp_path / "run").exists()

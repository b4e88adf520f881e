"""A run without labels: both stages learn from the teacher, and the student's agreement with it is what is reported."""

import dataclasses
import json

import pytest

from tests.tiny_run import make_recipe, write_model
from tinybert_jax import evaluate, train
from tinybert_jax.data import read_squad
from tinybert_jax.distill import Intermediate, Prediction
from tinybert_jax.errors import UserError
from tinybert_jax.inference import QASettings, write_settings
from tinybert_jax.run.recipe import Stage

pytestmark = pytest.mark.usefixtures("quick_runs")

FIGURES = {"same_answer", "exact", "f1", "kl"}


def strip(source, path):
    """The questions of SQuAD's JSON, without answers, a line each."""
    lines = [{"id": e.id, "question": e.question, "context": e.context} for e in read_squad(source)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return str(path)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run of a few steps: its recipe, its folder and its results."""
    folder = tmp_path_factory.mktemp("unlabelled")
    stages = Stage(objective=Intermediate(), max_steps=10), Stage(objective=Prediction(), max_steps=40)
    stages = tuple(dataclasses.replace(stage, batch_size=4, epochs=20, learning_rate=1e-2) for stage in stages)
    recipe = make_recipe(
        folder, stages=stages, name="unlabelled", teacher=str(folder / "teacher"), checkpoint_every=100
    )
    write_model(folder / "teacher", json.loads((folder / "train.json").read_text()), seed=1)
    write_settings(folder / "teacher", QASettings(recipe.windows, trained_on_unanswerable=True))
    data = {name: strip(folder / f"{name}.json", folder / f"{name}.jsonl") for name in ("train", "dev")}
    recipe = dataclasses.replace(recipe, **data)
    return recipe, folder / "run", train.train(recipe, folder / "run")


def test_agreement_with_the_teacher_is_what_is_reported(finished):
    recipe, output, results = finished
    assert results.keys() == {"student", "seconds"}
    figures = results["student"]
    assert figures.keys() == {"total", *FIGURES, *(f"{name}_interval" for name in FIGURES)}
    assert figures["total"] == len(read_squad(recipe.dev))
    for name in FIGURES:
        low, high = figures[f"{name}_interval"]
        assert low <= figures[name] <= high
    metrics = json.loads((output / "student" / "metrics.json").read_text())
    assert metrics["f1"] == pytest.approx(figures["f1"], abs=0.005)
    assert set(json.loads((output / "student" / "predictions.json").read_text())) == {
        example.id for example in read_squad(recipe.dev)
    }


def test_the_card_says_what_was_measured_against(finished):
    _, output, results = finished
    card = (output / "export" / "README.md").read_text()
    assert "Measured on dev.jsonl, which has no labels, against the teacher's answers, with the rules" in card
    assert f"| {results['student']['f1']:.2f} |" in card
    assert "model-index" not in card  # no score on a data set
    settings = json.loads((output / "export" / "question_answering.json").read_text())
    assert settings["trained_on_unanswerable"] is True


def test_the_command_measures_the_same(finished, monkeypatch, capsys):
    recipe, output, results = finished
    monkeypatch.setattr("tinybert_jax.run.runtime.configure", lambda: None)

    def printed(*models):
        arguments = [models[0], "--against", models[1], "--data", recipe.dev]
        monkeypatch.setattr("sys.argv", ["evaluate.py", *map(str, arguments)])
        evaluate.main()
        return json.loads(capsys.readouterr().out)

    figures = printed(output / "export", recipe.teacher)
    for name in FIGURES:
        assert figures[name] == pytest.approx(results["student"][name], abs=0.01)
    before = printed(recipe.student, recipe.teacher)
    assert before["kl"] > 2 * figures["kl"]
    itself = printed(recipe.teacher, recipe.teacher)
    assert (itself["same_answer"], itself["f1"], itself["kl"]) == (100.0, 100.0, 0.0)


@pytest.mark.parametrize(
    "more",
    [[], ["--predictions", "p.json", "--against", "q.json"], ["--against", "TEACHER", "--report", "page.html"]],
    ids=["alone", "files", "report"],
)
def test_the_command_refuses_to_score_what_is_not_labelled(finished, monkeypatch, more):
    recipe, output, _ = finished
    monkeypatch.setattr("tinybert_jax.run.runtime.configure", lambda: None)
    models = [] if "--predictions" in more else [str(output / "export")]
    monkeypatch.setattr("sys.argv", ["evaluate.py", *models, *more, "--data", recipe.dev])
    with pytest.raises(UserError, match=r"dev\.jsonl has no labels to score answers by: give MODEL --against TEACHER"):
        evaluate.main()


def test_labels_that_are_wanted_are_refused_before_anything_is_written(finished, tmp_path):
    recipe, *_ = finished
    wanting = dataclasses.replace(recipe, compare_undistilled=True)
    with pytest.raises(UserError, match=r"compare_undistilled trains on labels alone, and .*train\.jsonl has none"):
        train.train(wanting, tmp_path / "run")
    assert not (tmp_path / "run").exists()

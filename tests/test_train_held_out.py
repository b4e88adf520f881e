"""Scores on held-out questions while a stage trains: of what, what they decide, and that a kill changes none."""

import dataclasses

import pytest

from tests.tiny_run import Copies, Kill, equal, final, make_recipe
from tinybert_jax import train
from tinybert_jax.inference import JaxNetwork, evaluate
from tinybert_jax.run import held_out
from tinybert_jax.run.prepare import prepare
from tinybert_jax.tracking import read_metrics

pytestmark = pytest.mark.usefixtures("quick_runs")


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    """A model that is scored after every second of twelve steps, on one article of three."""
    settings = {"hold_out_questions": 0.34, "eval_every": 2, "dtype": "float32"}
    return make_recipe(tmp_path_factory.mktemp("task"), **settings)


def scores_of(folder):
    return [(line["step"], line["held_out_f1"]) for line in read_metrics(folder) if "held_out_f1" in line]


SCRIPT = [10.0, 50.0, 20.0, 30.0, 40.0]


def train_scripted(recipe, output, known, *hooks):
    """Trains while the held-out scores follow the script: the best is step 4, and patience runs out at step 10.

    `known` holds the parameters after each step, by which the script knows where it is.
    """

    def scripted_evaluate(params, *_, **__):
        step = next(step for step, copied in known.items() if equal(copied, params))
        return type("Found", (), {"metrics": dict.fromkeys(("exact", "f1"), SCRIPT[step // 2 - 1])})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(held_out, "JaxNetwork", lambda model, mesh: model.params)
        patch.setattr(held_out, "evaluate", scripted_evaluate)
        train.train(dataclasses.replace(recipe, keep="best", patience=3), output, hooks=hooks)


@pytest.fixture(scope="module")
def scored(recipe, tmp_path_factory):
    """A run that is scored every other step: its folder, and its parameters after each step."""
    output, copies = tmp_path_factory.mktemp("scored") / "run", Copies()
    train.train(recipe, output, hooks=(copies,))
    return output, copies.params


def test_the_questions_held_out_are_not_trained_on_and_are_what_is_scored(recipe, scored):
    output, params = scored
    ingredients = prepare(recipe, output)
    held = ingredients.held_out
    titles = {example.title for example in held.examples}
    assert len(titles) == 1
    assert not titles & {example.title for example in ingredients.train.examples}
    assert len({example.title for example in ingredients.train.examples}) == 2
    scores = dict(scores_of(output / "student"))
    assert list(scores) == [2, 4, 6, 8, 10, 12]
    for step in (6, 12):
        network = JaxNetwork(ingredients.student._replace(params=params[step]))
        metrics = evaluate(network, held, recipe.answers, buckets=(128,)).metrics
        assert metrics["f1"] == scores[step]
    assert equal(final(output), params[12])


def test_scoring_changes_no_step_and_a_stage_s_last_is_always_scored(recipe, scored, tmp_path):
    copies = Copies()
    train.train(dataclasses.replace(recipe, eval_every=100), tmp_path / "rarely", hooks=(copies,))
    assert equal(copies.params, scored[1])
    assert [step for step, _ in scores_of(tmp_path / "rarely" / "student")] == [12]


@pytest.mark.parametrize("killed_at", [None, 3, 8, 10])
def test_killed_or_not_a_run_ends_early_with_its_best_step(recipe, scored, tmp_path, killed_at):
    """At step 8 the best checkpoint has been followed by two others; at step 10 patience has just run out."""
    output = tmp_path / "run"
    if killed_at is not None:
        with pytest.raises(KeyboardInterrupt):
            train_scripted(recipe, output, scored[1], Kill(killed_at))
    copies = Copies()
    train_scripted(recipe, output, scored[1], copies)
    assert equal(final(output), scored[1][4])
    assert max(copies.params) == 10
    assert scores_of(output / "student") == [*zip((2, 4, 6, 8, 10), SCRIPT, strict=True)]
    assert not (output / "student" / "1-finetune" / "checkpoints").exists()

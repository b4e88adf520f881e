"""Scores on held-out questions while a stage trains: of what, what they decide, and that a kill changes none."""

import dataclasses
import json

import jax
import numpy as np
import pytest

import tinybert_jax
from tinybert_jax import train
from tinybert_jax.distill import Finetune
from tinybert_jax.inference import evaluate
from tinybert_jax.model import BertConfig, BertForQuestionAnswering, init_params, save_pretrained
from tinybert_jax.run import held_out
from tinybert_jax.run.hooks import Hook
from tinybert_jax.run.prepare import prepare
from tinybert_jax.run.recipe import Stage
from tinybert_jax.run.recipes import RECIPES
from tinybert_jax.synthetic.generate import SyntheticConfig, make_squad, train_tokenizer
from tinybert_jax.tracking import read_metrics


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    """A little model fine-tuned for twelve steps and scored after every second one, on one article of three."""
    folder = tmp_path_factory.mktemp("task")
    data, dev = make_squad(SyntheticConfig(train_articles=3, dev_articles=1, paragraphs_per_article=2))
    for name, content in (("train", data), ("dev", dev)):
        (folder / f"{name}.json").write_text(json.dumps(content))
    tokenizer = train_tokenizer(data, 600)
    shape = {"num_hidden_layers": 1, "num_attention_heads": 2, "max_position_embeddings": 128}
    config = BertConfig(vocab_size=len(tokenizer), hidden_size=16, intermediate_size=16, **shape)
    params = init_params(BertForQuestionAnswering(config), jax.random.key(0))
    save_pretrained(folder / "student", config, params, tokenizer)
    return dataclasses.replace(
        RECIPES["finetune-teacher"](),
        student=str(folder / "student"),
        train=str(folder / "train.json"),
        dev=str(folder / "dev.json"),
        stages=(Stage(objective=Finetune(), batch_size=4, max_steps=12, learning_rate=1e-2),),
        windows=dataclasses.replace(RECIPES["quickstart"]().windows, max_seq_len=128),
        buckets=(128,),
        cache=folder / "cache",
        hold_out_questions=0.34,
        eval_every=2,
        log_every=4,
        checkpoint_every=3,
    )


class Copies(Hook):
    """A hook of one's own: keeps a copy of the parameters after every step."""

    def __init__(self):
        self.params = {}

    def step(self, done, state, metrics):
        self.params[done] = jax.tree.map(np.array, state.params["model"])


class Kill(Hook):
    """Ends the process, as far as the run can tell, once a step is taken."""

    def __init__(self, at):
        self.at = at

    def step(self, done, state, metrics):
        if done == self.at:
            raise KeyboardInterrupt


def scores_of(folder):
    return [(line["step"], line["held_out_f1"]) for line in read_metrics(folder) if "held_out_f1" in line]


def final(output):
    return tinybert_jax.load_pretrained(output / "student" / "1-finetune" / "final")[1]


def equal(one, other):
    return jax.tree.all(jax.tree.map(np.array_equal, one, other))


SCRIPT = [10.0, 50.0, 20.0, 30.0, 40.0]


def train_scripted(recipe, output, known, *hooks):
    """Trains while the held-out scores follow the script: the best is step 4, and patience runs out at step 10.

    `known` holds the parameters after each step, by which the script knows where it is.
    """

    def scripted_evaluate(network, params, *_, **__):
        step = next(step for step, copied in known.items() if equal(copied, params))
        return type("Found", (), {"metrics": dict.fromkeys(("exact", "f1"), SCRIPT[step // 2 - 1])})

    with pytest.MonkeyPatch.context() as patch:
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
        metrics = evaluate(ingredients.student.network, params[step], held, recipe.answers, buckets=(128,)).metrics
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

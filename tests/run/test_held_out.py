"""What is held out of training, and what the scores on it decide."""

import dataclasses

import pytest

from tinybert_jax.data import Dataset, Example
from tinybert_jax.distill import Finetune, Intermediate
from tinybert_jax.errors import UserError
from tinybert_jax.model import BertConfig, BertForQuestionAnswering
from tinybert_jax.run import held_out
from tinybert_jax.run.held_out import Evaluation, hold_out
from tinybert_jax.run.hooks import StageRun
from tinybert_jax.run.recipe import Stage
from tinybert_jax.run.recipes import RECIPES
from tinybert_jax.tracking import Tracker


def examples(titles, questions=3):
    """Questions of articles with two contexts each; without titles where the articles have none."""
    return [
        Example(f"{number}-{i}", "Who?", f"context {number} {i % 2}", (), title)
        for number, title in enumerate(titles)
        for i in range(questions)
    ]


def test_whole_articles_are_held_out():
    data = examples("abcdefghij")
    left, held = hold_out(data, 0.3, seed=0)
    assert len({example.title for example in held}) == 3
    assert not {example.title for example in held} & {example.title for example in left}
    assert sorted([*left, *held], key=data.index) == data
    assert [data.index(example) for example in left] == sorted(data.index(example) for example in left)


def test_the_seed_decides_which():
    data = examples("abcdefghij")
    assert hold_out(data, 0.3, seed=0) == hold_out(data, 0.3, seed=0)
    assert hold_out(data, 0.3, seed=0) != hold_out(data, 0.3, seed=1)


def test_without_titles_contexts_are_held_out():
    left, held = hold_out(examples(["", "", ""]), 0.5, seed=0)
    assert len({example.context for example in held}) == 3
    assert not {example.context for example in held} & {example.context for example in left}


@pytest.mark.parametrize(("share", "count"), [(0.01, 1), (0.99, 2)])
def test_one_article_at_least_on_each_side(share, count):
    assert len({example.title for example in hold_out(examples("abc"), share, seed=0)[1]}) == count


def test_a_single_article_cannot_be_divided():
    with pytest.raises(UserError, match=r"at least 2 titles .* got 1"):
        hold_out(examples("a"), 0.5, seed=0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"keep": "best"}, "keep best needs scores on held-out questions: give eval_every"),
        ({"patience": 2}, "patience 2 needs scores"),
        ({"hold_out_questions": 0.1}, r"hold_out_questions 0\.1 needs scores"),
        ({"eval_every": 10}, "eval_every 10 scores on questions held out .* give hold_out_questions"),
        ({"hold_out_questions": 1.0}, r"must be a share of the articles, in \[0, 1\), got 1\.0"),
        ({"hold_out_questions": float("nan"), "eval_every": 1}, "hold_out_questions must be a finite number, got nan"),
        ({"eval_every": 0, "hold_out_questions": 0.1}, "eval_every must be at least 1, got 0"),
        ({"eval_every": 1, "hold_out_questions": 0.1, "patience": 0}, "patience must be at least 1, got 0"),
        (
            {"eval_every": 1, "hold_out_questions": 0.1, "augmented": "copies.arrow"},
            "cannot be taken out of augmented copies .* got augmented copies.arrow",
        ),
        (
            {
                "eval_every": 1,
                "hold_out_questions": 0.1,
                "stages": (Stage(objective=Intermediate()),),
                "teacher_stages": (),
            },
            "needs a stage that trains to answer",
        ),
    ],
)
def test_settings_that_contradict_each_other_are_refused(change, message):
    with pytest.raises(UserError, match=message):
        dataclasses.replace(RECIPES["quickstart"](), **change)


def scored(monkeypatch, tmp_path, f1_by_step, *, patience=None, start=0, objective=None):
    """An evaluation called at each of the steps, with these scores; and the lines it published."""
    recipe = dataclasses.replace(
        RECIPES["quickstart"](), eval_every=1, hold_out_questions=0.1, keep="best", patience=patience
    )
    lines = []
    evaluation = Evaluation(Dataset((), None), recipe)

    def publish(line):
        lines.append(line)
        evaluation.record(line)

    stage = Stage(objective=objective or Finetune())
    network = BertForQuestionAnswering(BertConfig())
    monkeypatch.setattr(held_out, "JaxNetwork", lambda model, mesh: None)  # the scores are given
    evaluation.start(StageRun(tmp_path, "1-finetune", stage, network=network, steps=99, start=start), publish)
    for step, f1 in f1_by_step.items():
        found = type("Found", (), {"metrics": {"exact": f1 / 2, "f1": f1}})
        monkeypatch.setattr(held_out, "evaluate", lambda *_, found=found, **__: found)
        evaluation.step(step, type("State", (), {"params": {"model": None}}), {})
    return evaluation, lines


def test_the_first_of_the_highest_scores_is_the_best(monkeypatch, tmp_path):
    evaluation, lines = scored(monkeypatch, tmp_path, {2: 10.0, 4: 30.0, 6: 20.0, 8: 30.0})
    assert (evaluation.best.step, evaluation.best.f1) == (4, 30.0)
    assert lines[1] == {"stage": "1-finetune", "step": 4, "held_out_exact": 15.0, "held_out_f1": 30.0}
    assert not evaluation.finished


def test_patience_counts_scores_in_a_row_without_gain(monkeypatch, tmp_path):
    scores = {1: 10.0, 2: 5.0, 3: 11.0, 4: 11.0, 5: 3.0}
    assert scored(monkeypatch, tmp_path, scores, patience=2)[0].finished
    assert not scored(monkeypatch, tmp_path, scores, patience=3)[0].finished
    assert not scored(monkeypatch, tmp_path, {1: 10.0, 2: 5.0, 3: 11.0, 4: 11.0}, patience=2)[0].finished


def test_what_was_scored_before_is_recalled(monkeypatch, tmp_path):
    with Tracker(tmp_path, stage="1-finetune", total_steps=9, start_step=0, log_every=9) as tracker:
        tracker.write({"stage": "other", "step": 1, "held_out_f1": 99.0})
        for step, f1 in ((1, 20.0), (2, 10.0)):
            tracker.write({"stage": "1-finetune", "step": step, "held_out_f1": f1})
    evaluation, _ = scored(monkeypatch, tmp_path, {}, patience=2, start=2)
    assert (evaluation.best.step, evaluation.finished) == (1, False)
    evaluation, _ = scored(monkeypatch, tmp_path, {3: 15.0}, patience=2, start=2)
    assert (evaluation.best.step, evaluation.finished) == (1, True)
    assert scored(monkeypatch, tmp_path, {}, patience=1, start=2)[0].finished  # no step is taken then


def test_a_stage_that_does_not_train_to_answer_is_not_scored(monkeypatch, tmp_path):
    evaluation, lines = scored(monkeypatch, tmp_path, {1: 50.0}, objective=Intermediate())
    assert (evaluation.best, lines) == (None, [])

"""A run that diverges ends with what it diverged on, keeps nothing that is not finite, and does not end well later."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.tiny_run import Copies, equal, final, make_recipe
from tinybert_jax import train
from tinybert_jax.data import read_squad
from tinybert_jax.distill import Finetune
from tinybert_jax.errors import UserError
from tinybert_jax.tracking import read_metrics

pytestmark = pytest.mark.usefixtures("quick_runs")


@dataclasses.dataclass(frozen=True)
class Poisoned(Finetune):
    """Fine-tuning, but for some steps, counted from 1, whose loss is no number."""

    tag: ClassVar[str] = "finetune"
    steps: tuple[int, ...] = ()

    def loss(self, inputs):
        loss, terms = super().loss(inputs)
        return jnp.where(jnp.isin(inputs.step + 1, jnp.array(self.steps)), jnp.nan, 1.0) * loss, terms


@pytest.fixture
def recipe(tmp_path):
    return make_recipe(tmp_path)


def poisoned(recipe, *steps, **changes):
    stage = dataclasses.replace(recipe.stages[0], objective=Poisoned(steps=steps))
    return dataclasses.replace(recipe, stages=(stage,), **changes)


def test_a_diverging_run_names_its_questions_and_never_gets_beyond(recipe, tmp_path):
    """It diverges in step 5; lines are written after 4 and 8, checkpoints after 3 and 6."""
    diverging = poisoned(recipe, 5)
    ids = {example.id for example in read_squad(recipe.train)}
    for _ in range(2):
        with pytest.raises(UserError, match="loss must be finite, got nan at step 5; try a lower") as told:
            train.train(diverging, tmp_path / "run")
        said = str(told.value)
        named = said.partition("The step's questions: ")[2].partition(". The last")[0].split(", ")
        assert 1 <= len(named) <= 4 and set(named) <= ids
        assert "The last checkpoint is " in said and "checkpoints/3, from which the same command continues" in said
    stage = tmp_path / "run" / "student" / "1-finetune"
    assert {path.name for path in stage.glob("checkpoints/[0-9]")} == {"3"}
    assert not (stage / "final").exists()


def test_the_last_step_is_no_exception(recipe, tmp_path):
    """No line and no checkpoint is due when it diverges, and only its update could tell."""
    with pytest.raises(UserError, match=r"got nan at step 12; .* The last checkpoint is .*checkpoints/10, from"):
        train.train(poisoned(recipe, 12, checkpoint_every=5, log_every=50), tmp_path / "run")
    assert not (tmp_path / "run" / "student" / "1-finetune" / "final").exists()


def test_bad_updates_may_be_left_out_and_are_counted_wherever_the_run_continues(recipe, tmp_path):
    one_less = poisoned(recipe, 5, 7, skip_bad_updates=1)
    for _ in range(2):
        with pytest.raises(UserError, match=r"loss must be finite, got nan at step 7; .*checkpoints/6, from which"):
            train.train(one_less, tmp_path / "run")
    copies = Copies()
    train.train(dataclasses.replace(one_less, skip_bad_updates=2), tmp_path / "run", [copies])  # the same run
    unmoved = [step for step in range(8, 13) if equal(copies.params[step - 1], copies.params[step])]
    assert not unmoved
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(final(tmp_path / "run")))
    lines = read_metrics(tmp_path / "run" / "student")
    assert [(line["step"], line.get("skipped")) for line in lines] == [(4, None), (6, 1), (8, 1), (12, None)]
    assert all(np.isfinite(line["loss"]) for line in lines)


def test_accumulated_batches_are_not_left_out_one_by_one(recipe):
    stage = dataclasses.replace(recipe.stages[0], accumulate=2)
    with pytest.raises(UserError, match="skip_bad_updates 3 leaves single batches out"):
        dataclasses.replace(recipe, stages=(stage,), skip_bad_updates=3)

"""What holds of every kind of objective: each is found by its tag, and none is known by name anywhere else."""

import dataclasses
import re
from dataclasses import replace
from pathlib import Path

import jax
import pytest

from tinybert_jax.distill import OBJECTIVES, Finetune, Intermediate, Objective, Prediction, Relations
from tinybert_jax.model import BertConfig

PACKAGE = Path(__file__).parents[2] / "tinybert_jax"
SMALL = BertConfig(hidden_size=4, num_hidden_layers=2, num_attention_heads=2, intermediate_size=8)


def test_the_registry_holds_every_kind_by_its_tag():
    kinds = {"finetune": Finetune, "intermediate": Intermediate, "prediction": Prediction, "relations": Relations}
    assert kinds == OBJECTIVES
    ours = {kind for kind in Objective.__subclasses__() if kind.__module__.startswith("tinybert_jax.")}
    assert ours == set(OBJECTIVES.values())


@pytest.mark.parametrize("kind", OBJECTIVES.values(), ids=OBJECTIVES)
def test_a_kind_is_a_frozen_value_with_defaults(kind):
    assert kind() == kind()
    assert hash(kind()) == hash(kind())
    assert "tag" not in {field.name for field in dataclasses.fields(kind)}  # no flag
    with pytest.raises(dataclasses.FrozenInstanceError):
        kind().tag = "another"


@pytest.mark.parametrize("module", ["train.py", "run/recipe.py", "run/model_card.py", "distill/step.py"])
def test_who_runs_objectives_asks_none_for_its_class(module):
    source = (PACKAGE / module).read_text()
    assert not re.search(r"isinstance\([^)]*objective|__name__\.|\b(Intermediate|Prediction|Relations)\b", source)


@pytest.mark.parametrize("objective", [Prediction(), Finetune()])
def test_logits_are_compared_whatever_the_heads_and_widths(objective):
    large = replace(SMALL, hidden_size=8, num_attention_heads=4, num_hidden_layers=3)
    objective.check(SMALL, large)
    assert objective.attention == "none"
    assert objective.init_projection(jax.random.key(0), SMALL, large) == {}
    assert objective.describe(SMALL, large) is None


def test_who_learns_from_what():
    assert [kind().uses_teacher for kind in OBJECTIVES.values()] == [False, True, True, True]
    assert [kind.averages_teachers for kind in OBJECTIVES.values()] == [False, False, True, False]

"""The presets are what their sources did, and what the documentation says of them."""

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path
from typing import get_args

import pytest

from tinybert_jax.augment.rules import AugmentRules
from tinybert_jax.distill import Intermediate, Prediction, Projection, UpdateRule
from tinybert_jax.run.presets import HAYSTACK, HUAWEI, PAPER, PRESETS, RECOMMENDED, Preset, PresetName

PAGE = Path(__file__).parents[2] / "docs" / "method.md"


def settings(value, prefix=""):
    """Every setting by its path; objectives stand under their tags alone."""
    fields = value if isinstance(value, Mapping) else vars(value)
    for name, inner in fields.items():
        if dataclasses.is_dataclass(inner):
            yield from settings(inner, f"{prefix}{name}.")
        elif isinstance(inner, Mapping):
            yield from settings(inner, prefix)
        else:
            yield f"{prefix}{name}", inner


def table() -> str:
    """The documentation's table: a row for every setting in which the presets differ."""
    columns = {name: dict(settings(preset)) for name, preset in PRESETS.items()}
    lines = [f"| | {' | '.join(f'`{name}`' for name in columns)} |", "| --- " * (len(columns) + 1) + "|"]
    for setting in [setting for setting in columns["haystack"] if setting != "source"]:
        values = [str(column[setting]) for column in columns.values()]
        if len(set(values)) > 1:
            lines.append(f"| `{setting}` | {' | '.join(values)} |")
    return "\n".join(lines)


def test_the_documented_table_is_what_the_presets_are():
    match = re.search(r"<!-- presets -->\n(.*?)\n<!-- /presets -->", PAGE.read_text(), re.DOTALL)
    assert match is not None
    assert match[1] == table()


def test_every_preset_says_where_it_comes_from():
    assert all(preset.source for preset in PRESETS.values())
    assert list(PRESETS.values()) == [HAYSTACK, HUAWEI, PAPER, RECOMMENDED]
    assert get_args(PresetName) == tuple(PRESETS)


@pytest.mark.parametrize("preset", PRESETS.values(), ids=PRESETS)
def test_presets_are_values(preset):
    assert hash(preset) == hash(dataclasses.replace(preset))
    with pytest.raises(dataclasses.FrozenInstanceError):
        preset.source = "elsewhere"


@pytest.mark.parametrize("preset", PRESETS.values(), ids=PRESETS)
def test_objectives_stand_under_their_tags(preset):
    assert list(preset.objectives) == ["intermediate", "prediction"]
    assert all(objective.tag == tag for tag, objective in preset.objectives.items())


def test_haystack_is_what_haystack_ran():
    assert dataclasses.replace(HAYSTACK, source="") == Preset(
        source="",
        objectives={
            "intermediate": Intermediate("probabilities", "counted", "uniform", "uniform", "equal", True),
            "prediction": Prediction(temperature=1.0, soft_weight=1.0, padding="counted", head_dropout=0.1),
        },
        rule=UpdateRule(True, 1e-8, "all", "global"),
        augment=AugmentRules("any", True, False, 512, 100_000, "empty", False, False, "single"),
    )


def test_huawei_is_what_huawei_ran():
    intermediate, prediction = HUAWEI.objectives.values()
    assert intermediate.compare == "scores"
    assert intermediate.projection == Projection("shared", bias=True, always=True)
    assert intermediate.teacher_dropout and prediction.teacher_dropout
    assert not prediction.scale_by_temperature
    assert UpdateRule(False, 1e-6, "matrices", "tensor", fractional_warmup=True) == HUAWEI.rule
    augment = HUAWEI.augment
    assert (augment.words, augment.pair, augment.originals, augment.distinct) == ("a-z", True, True, True)


def test_the_paper_s_words_are_replaced_as_its_authors_released():
    assert PAPER.augment == HUAWEI.augment


def test_what_we_recommend_is_masked_projects_only_where_it_must_and_keeps_the_teacher_still():
    intermediate, prediction = RECOMMENDED.objectives.values()
    for objective in (intermediate, prediction):
        assert objective.padding == "masked"
        assert not objective.teacher_dropout
    assert intermediate.compare == "scores"
    assert intermediate.attention_weight == 0.01
    assert intermediate.projection == Projection("per-state", bias=False, always=False)
    assert AugmentRules() == RECOMMENDED.augment

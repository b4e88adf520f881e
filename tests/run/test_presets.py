"""The presets are what their sources did, and what the README says of them."""

import dataclasses
import re
from pathlib import Path

import pytest

from tinybert_jax.distill import PRESETS, Intermediate, Prediction, Preset, Projection, UpdateRule
from tinybert_jax.distill.presets import HAYSTACK, HUAWEI, PAPER, RECOMMENDED

README = Path(__file__).parents[2] / "README.md"


def settings(value, prefix=""):
    for field in dataclasses.fields(value):
        inner = getattr(value, field.name)
        if dataclasses.is_dataclass(inner):
            yield from settings(inner, f"{prefix}{field.name}.")
        else:
            yield f"{prefix}{field.name}", inner


def table() -> str:
    """The README's table: a row for every setting in which the presets differ."""
    columns = {name: dict(settings(preset)) for name, preset in PRESETS.items()}
    lines = [f"| | {' | '.join(f'`{name}`' for name in columns)} |", "| --- " * (len(columns) + 1) + "|"]
    for setting in sorted(columns["haystack"].keys() - {"source"}, key=list(columns["haystack"]).index):
        values = [str(column[setting]) for column in columns.values()]
        if len(set(values)) > 1:
            lines.append(f"| `{setting}` | {' | '.join(values)} |")
    return "\n".join(lines)


def test_the_readme_s_table_is_what_the_presets_are():
    match = re.search(r"<!-- presets -->\n(.*?)\n<!-- /presets -->", README.read_text(), re.DOTALL)
    assert match is not None
    assert match[1] == table()


def test_every_preset_says_where_it_comes_from():
    assert all(preset.source for preset in PRESETS.values())
    assert list(PRESETS.values()) == [HAYSTACK, HUAWEI, PAPER, RECOMMENDED]


@pytest.mark.parametrize("preset", PRESETS.values(), ids=PRESETS)
def test_presets_are_values(preset):
    assert hash(preset) == hash(dataclasses.replace(preset))
    with pytest.raises(dataclasses.FrozenInstanceError):
        preset.source = "elsewhere"


def test_haystack_is_what_haystack_ran():
    assert dataclasses.replace(HAYSTACK, source="") == Preset(
        source="",
        intermediate=Intermediate("probabilities", "counted", "uniform", "uniform", "equal", True),
        prediction=Prediction(temperature=1.0, soft_weight=1.0, padding="counted", head_dropout=0.1),
        rule=UpdateRule(True, 1e-8, "all", "global", "zero"),
    )


def test_huawei_is_what_huawei_ran():
    assert HUAWEI.intermediate.compare == "scores"
    assert HUAWEI.intermediate.projection == Projection("shared", bias=True, always=True)
    assert HUAWEI.intermediate.teacher_dropout and HUAWEI.prediction.teacher_dropout
    assert UpdateRule(False, 1e-6, "matrices", "tensor", "zero") == HUAWEI.rule


def test_what_we_recommend_is_masked_projects_only_where_it_must_and_keeps_the_teacher_still():
    for objective in (RECOMMENDED.intermediate, RECOMMENDED.prediction):
        assert objective.padding == "masked"
        assert not objective.teacher_dropout
    assert RECOMMENDED.intermediate.compare == "scores"
    assert RECOMMENDED.intermediate.attention_weight == 0.01
    assert RECOMMENDED.intermediate.projection == Projection("per-state", bias=False, always=False)

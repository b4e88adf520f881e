"""What "auto" decides, and that a run keeps to it."""

import dataclasses

import pytest

from tinybert_jax.errors import UserError
from tinybert_jax.run import dtype
from tinybert_jax.run.folder import check_folder
from tinybert_jax.run.recipe_file import write_recipe
from tinybert_jax.run.recipes import RECIPES

AUTO = RECIPES["quickstart"]()


@pytest.mark.parametrize(("gain", "decided"), [(4.0, "bfloat16"), (1.1, "float32"), (0.3, "float32")])
def test_the_faster_type_is_taken_and_said(monkeypatch, capsys, tmp_path, gain, decided):
    monkeypatch.setattr(dtype, "bfloat16_gain", lambda: gain)
    assert dtype.with_dtype(AUTO, tmp_path) == dataclasses.replace(AUTO, dtype=decided)
    said = capsys.readouterr().err
    assert said == f"dtype {decided}: this machine multiplies bfloat16 {gain:.2g} times as fast as float32\n"


def test_a_run_goes_on_as_it_began_wherever_it_is(monkeypatch, tmp_path):
    begun = dataclasses.replace(AUTO, dtype="bfloat16")
    write_recipe(tmp_path / "recipe.json", begun)
    monkeypatch.setattr(dtype, "bfloat16_gain", lambda: 0.3)
    check_folder(AUTO, tmp_path)
    assert dtype.with_dtype(AUTO, tmp_path) == begun
    with pytest.raises(UserError, match="different in dtype"):
        check_folder(dataclasses.replace(AUTO, dtype="float32"), tmp_path)


def test_a_type_that_is_given_is_not_measured(monkeypatch, tmp_path):
    monkeypatch.setattr(dtype, "bfloat16_gain", lambda: pytest.fail("measured"))
    given = dataclasses.replace(AUTO, dtype="bfloat16")
    assert dtype.with_dtype(given, tmp_path) is given


def test_the_gain_is_measured_in_a_second_or_two():
    assert 0.05 < dtype.bfloat16_gain() < 50


def test_recipes_of_published_figures_stay_in_float32():
    decided = {name: recipe().dtype for name, recipe in RECIPES.items()}
    assert {name for name, kind in decided.items() if kind != "auto"} == {
        "tinybert-6l-768d-squad2",
        "tinybert-6l-768d-squad2-paper",
    }

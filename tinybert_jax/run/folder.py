"""A run's folder: free, or this very recipe's."""

from pathlib import Path

from tinybert_jax.errors import UserError
from tinybert_jax.run.recipe import Recipe
from tinybert_jax.run.recipe_file import differing_fields, to_json, write_recipe
from tinybert_jax.store.files import read_json

SYNTHETIC_FOLDER = "synthetic"
_RECIPE_FILE = "recipe.json"
_FREE_TO_CHANGE = ("checkpoint_every", "log_every", "cache")  # a run may be continued with others


def check_folder(recipe: Recipe, output: Path) -> None:
    """Checks that `output` is free, or holds a run of this very recipe.

    Raises:
        UserError: the folder holds another recipe's run, or something else; or a figure of the recipe is no number.
    """
    path, now = output / _RECIPE_FILE, to_json(recipe)
    if not path.exists():
        if output.exists() and (not output.is_dir() or {item.name for item in output.iterdir()} - {SYNTHETIC_FOLDER}):
            raise UserError(f"{output} exists and holds no run of ours: name a new or an empty folder")
        return
    changed = [field for field in differing_fields(read_json(path), now) if field not in _FREE_TO_CHANGE]
    if changed:
        raise UserError(
            f"{output} holds a run of another recipe, different in {', '.join(sorted(changed))}: "
            "name another folder, or give the same recipe and options to continue that run"
        )


def claim_folder(recipe: Recipe, output: Path) -> None:
    """Writes the recipe into `output`, once it has been found sound."""
    write_recipe(output / _RECIPE_FILE, recipe)

"""The command line of a run: `RECIPE [--preset NAME] [--overrides] --output DIR`."""

import argparse
import sys
from pathlib import Path
from typing import Annotated

from tinybert_jax.errors import UserError
from tinybert_jax.run.presets import PRESETS
from tinybert_jax.run.recipe import Recipe, with_preset
from tinybert_jax.run.recipes import RECIPES


def parse(arguments: list[str], description: str = "") -> tuple[Recipe, Path]:
    """Reads `RECIPE [--preset NAME] [--overrides] --output DIR`.

    Raises:
        UserError: no recipe of that name.
    """
    import tyro

    if not arguments or arguments[0] in ("-h", "--help"):
        print(description, f"Recipes: {', '.join(RECIPES)}. Options: tinybert train RECIPE --help", sep="\n")
        sys.exit(0)
    name, *overrides = arguments
    if name not in RECIPES:
        raise UserError(f"unknown recipe {name!r}: one of {', '.join(RECIPES)} must come first")
    # Before the rest, as what follows overrides it.
    presets = argparse.ArgumentParser(prog=f"tinybert train {name}", add_help=False, allow_abbrev=False)
    presets.add_argument("--preset", choices=PRESETS, help="a known system's objectives, updates and augmentation")
    chosen, overrides = presets.parse_known_args(overrides)
    recipe = RECIPES[name]() if chosen.preset is None else with_preset(RECIPES[name](), PRESETS[chosen.preset])
    without_prefix = tyro.conf.arg(name="")

    def run(recipe: Annotated[Recipe, without_prefix], output: Path) -> tuple[Recipe, Path]:
        return recipe, output

    run.__defaults__ = (recipe, tyro.MISSING)
    program, description = f"tinybert train {name}", f"{RECIPES[name].__doc__}\n{presets.format_help()}"
    config = (tyro.conf.AvoidSubcommands,)
    return tyro.cli(run, prog=program, description=description, args=overrides, config=config)

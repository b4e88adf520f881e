"""The command line of a run: `RECIPE [--preset NAME] [--overrides] --output DIR`, and what is done beside it."""

import dataclasses
import sys
from pathlib import Path
from typing import Annotated, Literal

from tinybert_jax.distill import OBJECTIVES
from tinybert_jax.errors import UserError
from tinybert_jax.run.folder import forked
from tinybert_jax.run.hooks import Hook
from tinybert_jax.run.presets import PRESETS, PresetName
from tinybert_jax.run.push import Push
from tinybert_jax.run.recipe import Recipe, with_preset
from tinybert_jax.run.recipe_file import read_recipe, run_recipe_file
from tinybert_jax.run.recipes import RECIPES
from tinybert_jax.run.trackers import TRACKERS, TrackerName

_SOURCE = "a recipe's name, a recipe.json, or FILE.py:NAME, which is executed"
_PRESET = "a known system's objectives, updates and augmentation; other flags override it"
_OBJECTIVES = (
    f"the kinds of the stages' objectives, in order: {', '.join(OBJECTIVES)}; a new one starts with its defaults"
)
_FORK = "begin the run of --output again in the folder NEW, with the data and models that are there now"
_PUSH = "send the exported student to the hub as this id, owner/name; HF_TOKEN or `hf auth login` says who you are"
_REPORT = "where the figures of metrics.jsonl go too; each an extra to install"
_PRIVATE = "only the owner sees what --push-to-hub sends"


def parse(arguments: list[str], description: str = "") -> tuple[Recipe, Path, tuple[Hook, ...]]:
    """Reads `RECIPE [--preset NAME] [--overrides] --output DIR [--fork NEW]`, and what is done beside the run.

    Returns:
        The recipe, the folder to run it in, and hooks for what is done beside the run and is no part of it.

    Raises:
        UserError: no such recipe, or nothing to fork.
    """
    if not arguments or arguments[0] in ("-h", "--help"):
        recipes = (f"    {name:32}{_summary(name)}" for name in RECIPES)
        print(description, f"RECIPE is {_SOURCE}. The names:", "", *recipes, "", sep="\n")
        print("All options: tinybert train RECIPE --help")
        sys.exit(0)
    import tyro

    source_arg, preset_arg = tyro.conf.arg(metavar="RECIPE", help=_SOURCE), tyro.conf.arg(help=_PRESET)
    output_arg, without_prefix = tyro.conf.arg(help="the run's folder"), tyro.conf.arg(name="")
    fork_arg = tyro.conf.arg(metavar="NEW", help=_FORK)
    kinds_arg, report_arg = tyro.conf.arg(metavar="KIND", help=_OBJECTIVES), tyro.conf.arg(help=_REPORT)
    push_arg, private_arg = tyro.conf.arg(metavar="ID", help=_PUSH), tyro.conf.arg(help=_PRIVATE)

    def base(
        source: Annotated[tyro.conf.Positional[str], source_arg],
        preset: Annotated[PresetName | None, preset_arg] = None,
        objectives: Annotated[tuple[str, ...] | None, kinds_arg] = None,
    ) -> Recipe:
        recipe = find_recipe(source)
        recipe = recipe if preset is None else with_preset(recipe, PRESETS[preset])
        return recipe if objectives is None else _with_kinds(recipe, objectives)

    def run(
        source: Annotated[tyro.conf.Positional[str], source_arg],
        recipe: Annotated[Recipe, without_prefix],
        output: Annotated[Path, output_arg],
        preset: Annotated[PresetName | None, preset_arg] = None,
        objectives: Annotated[tuple[str, ...] | None, kinds_arg] = None,
        fork: Annotated[Path | None, fork_arg] = None,
        report_to: Annotated[TrackerName | Literal["none"], report_arg] = "none",
        push_to_hub: Annotated[str | None, push_arg] = None,
        private: Annotated[bool, private_arg, tyro.conf.FlagCreatePairsOff] = False,
    ) -> tuple[Recipe, Path, tuple[Hook, ...]]:
        if private and push_to_hub is None:
            raise UserError("--private says how to push: give --push-to-hub ID too")
        hooks: list[Hook] = [] if report_to == "none" else [TRACKERS[report_to]()]
        if push_to_hub is not None:
            hooks.append(Push(push_to_hub, private=private))
        return recipe, output if fork is None else forked(recipe, output, fork), tuple(hooks)

    options = {"prog": f"tinybert train {arguments[0]}", "args": arguments}
    # What the flags override has to be known before they can be read.
    recipe, _ = tyro.cli(base, return_unknown_args=True, add_help=False, **options)
    run.__defaults__ = (recipe, tyro.MISSING, None, None, None, "none", None, False)
    return tyro.cli(run, description=_summary(arguments[0]), config=(tyro.conf.AvoidSubcommands,), **options)


def _with_kinds(recipe: Recipe, kinds: tuple[str, ...]) -> Recipe:
    """The recipe with objectives of these kinds; a stage that has one of its kind keeps it."""
    if len(kinds) != len(recipe.stages) or not OBJECTIVES.keys() >= {*kinds}:
        raise UserError(
            f"--objectives must name a kind for each of the recipe's {len(recipe.stages)} stages, each one of "
            f"{', '.join(OBJECTIVES)}; got {' '.join(kinds)}"
        )
    stages = (
        stage if stage.objective.tag == kind else dataclasses.replace(stage, objective=OBJECTIVES[kind]())
        for stage, kind in zip(recipe.stages, kinds, strict=True)
    )
    return dataclasses.replace(recipe, stages=tuple(stages))


def _summary(source: str) -> str:
    """What a recipe is, in a line."""
    return (RECIPES[source].__doc__ or "").splitlines()[0] if source in RECIPES else f"The recipe of {source}."


def find_recipe(source: str) -> Recipe:
    """The recipe of a name, of a JSON file, or of a Python file and the name of a recipe in it, "FILE.py:NAME".

    Raises:
        UserError: there is none, or it is not sound.
    """
    path, _, name = source.rpartition(":")
    if source in RECIPES:
        return RECIPES[source]()
    if Path(path).suffix == ".py":
        return run_recipe_file(Path(path), name)
    if Path(source).suffix == ".json":
        return read_recipe(Path(source))
    raise UserError(
        f"unknown recipe {source!r}: one of {', '.join(RECIPES)} must come first, or a recipe.json, or FILE.py:NAME"
    )

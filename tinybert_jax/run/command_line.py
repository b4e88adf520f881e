"""The command line of a run: `RECIPE [--preset NAME] [--overrides] --output DIR`, and what is done beside it."""

import dataclasses
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tinybert_jax.distill import OBJECTIVES
from tinybert_jax.errors import UserError, check_read
from tinybert_jax.run.cluster import Cluster
from tinybert_jax.run.folder import forked
from tinybert_jax.run.hooks import Hook, TimeLimit
from tinybert_jax.run.presets import PRESETS, PresetName
from tinybert_jax.run.push import Push
from tinybert_jax.run.recipe import Recipe, with_preset
from tinybert_jax.run.recipe_file import read_recipe, run_recipe_file
from tinybert_jax.run.recipes import RECIPES
from tinybert_jax.run.trackers import TRACKERS, TrackerName

_USAGE = "tinybert train RECIPE [--preset NAME] [--overrides] --output DIR"
_SOURCE = "a recipe's name, a recipe.json, or FILE.py:NAME, which is executed"


@dataclass(frozen=True)
class Start:
    """What a command makes of the recipe that it names, before other flags override figures of it.

    Attributes:
        preset: a known system's objectives, updates and augmentation: docs/method.md.
        objectives: the kind of each stage's objective, in order: docs/objectives.md. One that the recipe does not have
            starts with its defaults.
    """

    preset: PresetName | None = None
    objectives: tuple[str, ...] | None = None

    def of(self, recipe: Recipe) -> Recipe:
        """The recipe with the preset and the kinds; a stage that has an objective of its kind keeps it.

        Raises:
            UserError: not a kind for each stage.
        """
        recipe = recipe if self.preset is None else with_preset(recipe, PRESETS[self.preset])
        kinds = self.objectives
        if kinds is None:
            return recipe
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


@dataclass(frozen=True)
class Options:
    """What a command says that is no part of its recipe.

    Attributes:
        output: the run's folder.
        fork: begin the run of --output again in this new folder, with the data and models that are there now.
        dry_run: check data and models, measure a few steps, print the plan with its memory and time, and no more.
        max_seconds: stop after so many seconds, with a checkpoint and status 75; the same command continues.
        report_to: where the figures of metrics.jsonl go too; each an extra to install.
        push_to_hub: send the exported student to the hub as this id, owner/name; HF_TOKEN or `hf auth login` says who
            you are.
        private: only the owner sees what --push-to-hub sends.
    """

    output: Path | None = None
    fork: Path | None = None
    dry_run: bool = False
    max_seconds: float | None = None
    report_to: TrackerName | Literal["none"] = "none"
    push_to_hub: str | None = None
    private: bool = False

    def hooks(self) -> tuple[Hook, ...]:
        """What is done beside the run."""
        if self.private and self.push_to_hub is None:
            raise UserError("--private says how to push: give --push-to-hub ID too")
        hooks: list[Hook] = [] if self.report_to == "none" else [TRACKERS[self.report_to]()]
        if self.push_to_hub is not None:
            hooks.append(Push(self.push_to_hub, private=self.private))
        if self.max_seconds is not None:
            hooks.append(TimeLimit(self.max_seconds))
        return tuple(hooks)


def parse(arguments: list[str], description: str = "") -> tuple[Recipe, Path | None, tuple[Hook, ...]]:
    """Reads `RECIPE [--preset NAME] [--overrides] --output DIR [--fork NEW]`, and what is done beside the run.

    Returns:
        The recipe, the folder to run it in, None where it is only to be planned, and hooks for what is done beside the
        run and is no part of it.

    Raises:
        UserError: no such recipe, or none in the first place, a figure that it would not read, nothing to fork, or no
            folder.
    """
    if not arguments or arguments[0] in ("-h", "--help"):
        recipes = (f"    {name:32}{_summary(name)}" for name in RECIPES)
        print(description, f"RECIPE is {_SOURCE}. The names:", "", *recipes, "", sep="\n")
        print("All options: tinybert train RECIPE --help")
        sys.exit(0)
    if arguments[0].startswith("-"):
        raise UserError(f"the recipe must come first, got {arguments[0]}: {_USAGE}")
    import tyro

    source_arg = tyro.conf.arg(metavar="RECIPE", help=_SOURCE)
    without_prefix = tyro.conf.arg(name="")

    def base(
        source: Annotated[tyro.conf.Positional[str], source_arg], start: Annotated[Start, without_prefix]
    ) -> Recipe:
        return start.of(find_recipe(source))

    def run(
        source: Annotated[tyro.conf.Positional[str], source_arg],
        start: Annotated[Start, without_prefix],
        recipe: Annotated[Recipe, without_prefix],
        options: Annotated[Options, without_prefix],
        cluster: Annotated[Cluster, without_prefix],
    ) -> tuple[Recipe, Options, Cluster]:
        return recipe, options, cluster

    settings = {"prog": f"tinybert train {arguments[0]}", "args": arguments}
    # What the flags override has to be known before they can be read.
    start, _ = tyro.cli(base, return_unknown_args=True, add_help=False, **settings)
    run.__defaults__ = (start, Options(), Cluster())
    config = (tyro.conf.AvoidSubcommands,)
    recipe, options, cluster = tyro.cli(run, description=_summary(arguments[0]), config=config, **settings)
    _check_all_is_read(recipe, start)
    hooks = () if options.dry_run else (*cluster.hooks(), *options.hooks())
    return recipe, _folder(recipe, options), hooks


def _check_all_is_read(recipe: Recipe, start: Recipe) -> None:
    """Refuses what the flags change of a recipe's figures where the recipe does not come to them."""
    copies = (recipe.asks_for_copies, "no stage asks for copies", "--stages.0.augmented")
    made = f"student_from_teacher {recipe.student_from_teacher} makes the student of its teacher's layers"
    own = (recipe.synthetic is None, f"{recipe.name} generates its models and data", "a recipe that does not")
    readers: dict[str, tuple[bool, str, str | None]] = dict.fromkeys(("student", "teacher", "train", "dev"), own)
    if recipe.student_from_teacher is not None:
        readers["student"] = (False, made, "--student-from-teacher None")
    readers |= {
        "undistilled": (recipe.compare_undistilled, "nothing is compared to", "--compare-undistilled"),
        "augmented": copies,
        "augment": copies if recipe.augmented is None else (False, f"{recipe.augmented} has the copies", None),
        "corpus_column": (bool(recipe.corpus), "there is no corpus", "--corpus"),
    }
    for name, reader in readers.items():
        check_read(name, getattr(recipe, name), getattr(start, name), *reader)


def _folder(recipe: Recipe, options: Options) -> Path | None:
    if options.dry_run:
        return None
    if options.output is None:
        raise UserError("a run needs a folder: give --output DIR, or --dry-run to see what it would do")
    return options.output if options.fork is None else forked(recipe, options.output, options.fork)


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

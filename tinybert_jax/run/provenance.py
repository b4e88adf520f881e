"""What a run can tell of itself and of what it was made from, for the model card."""

import platform
import shlex
import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

import jax

from tinybert_jax.hub import locate
from tinybert_jax.model.config import BertConfig
from tinybert_jax.run.model_card import ModelCard, shown
from tinybert_jax.run.recipe import Recipe, Stage
from tinybert_jax.run.recipe_file import to_json
from tinybert_jax.run.student import how_made, student_source
from tinybert_jax.tracking import read_metrics

_LIBRARIES = ("tinybert-jax", "jax", "flax", "optax", "transformers")


class Origin(NamedTuple):
    """What a model's own card says of it; nothing where it says nothing, or there is none."""

    licence: str | None
    languages: tuple[str, ...]


def origin(name: str) -> Origin:
    """Reads the front matter of a model's README.md, in its folder or in the hub's snapshot."""
    from huggingface_hub.repocard import metadata_load

    try:
        stated = metadata_load(locate(name) / "README.md") or {}
    except Exception:  # whatever a card lacks or holds, the model that it is asked for took hours
        stated = {}
    return Origin(", ".join(_texts(stated.get("license"))) or None, _texts(stated.get("language")))


def _texts(value: Any) -> tuple[str, ...]:
    values = value if isinstance(value, list) else [value]
    return tuple(text for text in values if isinstance(text, str))


def describe(
    recipe: Recipe, student: BertConfig, teacher: BertConfig | None, metrics: Mapping[str, Any], output: Path
) -> ModelCard:
    """The card of a recipe's student.

    Args:
        recipe: what was run.
        student: the student's shape.
        teacher: its teacher's; None where it had none.
        metrics: as in `ModelCard`.
        output: the run's folder, by which the model is named.
    """
    layer_map = None
    for stage in recipe.stages:
        if teacher is not None:
            layer_map = stage.objective.describe(student, teacher) or layer_map
    started_from, teachers = student_source(recipe), (*filter(None, [recipe.teacher]), *recipe.more_teachers)
    datasets, measured_on = [*recipe.corpus, *filter(None, [recipe.train, recipe.augmented])], recipe.dev or ""
    if recipe.synthetic is not None:  # what the recipe calls these is no hub id
        started_from, *teachers = (f"generated {Path(name).name}" for name in (started_from, *teachers))
        datasets, measured_on = ["generated text"], "held-out articles of generated text"
    origins = {name: origin(name) for name in (started_from, *teachers)}
    languages = [set(found.languages) for found in origins.values()]
    return ModelCard(
        name=output.resolve().name,
        model_type=student.model_type,
        student=started_from,
        teachers=tuple(teachers),
        layer_map=layer_map,
        hyperparameters=_hyperparameters(recipe),
        facts=_facts(recipe, output),
        metrics=metrics,
        measured_on=measured_on,
        sampled=recipe.dev_questions if metrics.get("total") == recipe.dev_questions else None,
        datasets=tuple(datasets),
        licences={name: found.licence for name, found in origins.items()},
        languages=tuple(sorted(set.intersection(*languages))),  # all of which each of them speaks
    )


def _hyperparameters(recipe: Recipe) -> dict[str, dict[str, Any]]:
    models: dict[str, tuple[Stage, ...]] = {"teacher": recipe.teacher_stages, "student": recipe.stages}
    are_copies = recipe.augmented is not None or recipe.augment is not None  # else a stage that asks had none
    return {
        f"{model} {number}-{stage.objective.tag}": _flat(to_json(stage)) | {"augmented": stage.augmented and are_copies}
        for model, stages in models.items()
        for number, stage in enumerate(stages, start=1)
    }


def _flat(settings: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Settings and settings of settings under dotted names, less what is not set."""
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{name}.")
        elif value is not None:
            flat[prefix + name] = value
    return flat


def _facts(recipe: Recipe, output: Path) -> dict[str, str]:
    windows, devices = recipe.windows, jax.devices()
    step = "overlapping by" if windows.stride_means == "overlap" else "each begun after the one before it by"
    program = shown(sys.argv[0])  # our own command's is of two words
    command = f"{'python ' * program.endswith('.py')}{program} {shlex.join(map(_without_folders, sys.argv[1:]))}"
    return (
        how_made(recipe)
        | _left_out(recipe)
        | {
            "Recipe": f"`{recipe.name}`, seed {recipe.seed}, products in {recipe.dtype}",
            "Windows": f"{windows.max_seq_len} tokens, {step} {windows.doc_stride}",
            "Command": f"`{command}`",
            "Versions": ", ".join([f"Python {platform.python_version()}", *map(_version, _LIBRARIES)]),
            "Device": f"{len(devices)} × {devices[0].device_kind} ({platform.machine()})",
            "Hours of training": f"{_hours(output):.2f}",
        }
    )


def _left_out(recipe: Recipe) -> dict[str, str]:
    """What of the training data was not trained on."""
    parts = []
    if recipe.train_questions is not None:
        parts.append(f"at most {recipe.train_questions:,} questions, drawn at random")
    if recipe.hold_out_questions:
        parts.append(f"less {recipe.hold_out_questions:.2g} of the articles, held out")
    return {"Of the training data": ", ".join(parts)} if parts else {}


def _without_folders(argument: str) -> str:
    option, equals, value = argument.partition("=")
    return f"{option}={shown(value)}" if equals else shown(argument)


def _version(library: str) -> str:
    try:
        return f"{library} {version(library)}"
    except PackageNotFoundError:  # ours, run from a checkout
        return f"{library} (not installed)"


def _hours(output: Path) -> float:
    """How long the steps took that made the student, and its teacher where the run trained that one, in all runs."""
    seconds = 0.0
    for folder in ("teacher", "student"):
        before = ("", 0)
        for line in read_metrics(output / folder):
            if "steps_per_second" in line:  # not one of scores
                begun = before[1] if before[0] == line["stage"] else 0
                seconds += (line["step"] - begun) / max(line["steps_per_second"], 1e-4)
                before = line["stage"], line["step"]
    return seconds / 3600

"""What a run needs of its disks and devices, from the sizes of its models and data alone: nothing is compiled."""

import sys
import warnings
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from tinybert_jax.data import Epochs
from tinybert_jax.errors import free_bytes, nearest
from tinybert_jax.inference.memory import device_memory
from tinybert_jax.model import Model, freeze
from tinybert_jax.run.checkpoints import KEPT
from tinybert_jax.run.order import Work, work_of
from tinybert_jax.run.prepare import Ingredients
from tinybert_jax.run.recipe import Recipe
from tinybert_jax.run.results import FINAL
from tinybert_jax.run.stages import epochs_of, optimizer_of
from tinybert_jax.store.cache import size_of


class Extent(NamedTuple):
    """How far a stage goes.

    Attributes:
        epochs: its batches, of the data as they are now.
        copies: how many times as many data there will be at most, once the run has augmented them.
        steps: its length.
        cached: the teachers whose logits it trains from instead of running a teacher.
    """

    epochs: Epochs
    copies: int
    steps: int
    cached: Sequence[Model]


def extent_of(work: Work, recipe: Recipe, ingredients: Ingredients) -> Extent:
    """How far a stage goes, before anything of it is made."""
    stage, windows = work.stage, ingredients.data_of(work.stage).windows
    is_cached = work.teacher is not None and stage.objective.reads_cache and recipe.teacher_cache != "off"
    cached = (work.teacher, *ingredients.more_teachers) if work.teacher is not None and is_cached else ()
    logits = [np.broadcast_to(np.float32(0), (len(windows.tokens), 2))] * len(cached)
    epochs = epochs_of(stage, recipe, ingredients, logits)
    makes = recipe.augment if stage.augmented and ingredients.candidates else None
    copies = makes.copies + makes.rules.originals if makes else 1
    return Extent(epochs, copies, stage.steps(copies * epochs.steps_per_epoch), cached)


class Needs(NamedTuple):
    """What a run needs beyond what is there, in bytes.

    Attributes:
        folder: of its folder's disk, at most: the stages' models, the export, and the checkpoints of the stage that has
            the largest, which are gone with its end.
        cache: of the cache's disk, where it holds none of it yet: teachers' logits, and windows of augmented data.
        memory: of each device, at least: what is trained, the optimiser's state, and a teacher that runs beside. What a
            batch takes, only the compiler knows.
    """

    folder: int
    cache: int
    memory: int

    def __str__(self) -> str:
        cache = f", {_in_words(self.cache)} in the cache" if self.cache else ""
        return (
            f"{_in_words(self.folder)} on the disk for models and checkpoints{cache}, and of a device's "
            f"{_in_words(device_memory())} at least {_in_words(self.memory)}, for parameters and the optimiser"
        )


def needs_of(recipe: Recipe, ingredients: Ingredients, output: Path) -> Needs:
    """What the rest of a run in `output` needs."""
    made = peak = memory = 0
    cache: dict[Any, int] = {}
    works = [work for work in work_of(recipe, ingredients) if not (output / work.name / FINAL).exists()]
    for work in works:
        extent = extent_of(work, recipe, ingredients)
        state = state_bytes(work, extent.steps, recipe)
        made += _bytes(work.model.params)
        peak = max(peak, made + checkpoint_bytes(state, recipe) - size_of(output / work.name))
        windows = ingredients.data_of(work.stage).windows
        if extent.cached:
            each = 2 * np.dtype(recipe.teacher_cache).itemsize * len(windows.tokens)
            cache["logits", work.stage.augmented] = len(extent.cached) * extent.copies * each
        if extent.copies > 1:
            cache["windows"] = extent.copies * sum(column.nbytes for column in vars(windows).values())
        memory = max(memory, state + _teacher_bytes(work, bool(extent.cached), recipe))
    export = _bytes(ingredients.student.params)
    return Needs(max(peak, made + export), sum(cache.values()), memory)


def state_bytes(work: Work, steps: int, recipe: Recipe) -> int:
    """Bytes of all that a stage of so many steps changes: parameters, projections, the optimiser's state."""
    objective, projection = work.stage.objective, {}
    if objective.uses_teacher:
        assert work.teacher is not None  # the recipe was refused otherwise
        configs = work.model.config, work.teacher.config
        projection = jax.eval_shape(lambda key: objective.init_projection(key, *configs), jax.random.key(0))
    params = {"model": work.model.params, "projection": projection}
    # A stage on copies that are still to be made may be too short now to have a rate above 0; its state is the same.
    optimizer = optimizer_of(work.stage, max(steps, 3 * work.stage.accumulate), recipe)
    return _bytes((np.int32(0), params, jax.eval_shape(optimizer.init, params)))


def checkpoint_bytes(state: int, recipe: Recipe) -> int:
    """Bytes of a stage's checkpoints on the disk: the latest, the best, and the one that is being written."""
    return (KEPT + 1 + (recipe.eval_every is not None)) * state


def _teacher_bytes(work: Work, is_cached: bool, recipe: Recipe) -> int:
    """Bytes of the teacher that runs beside a stage, on each device."""
    if work.teacher is None or is_cached or not work.stage.objective.uses_teacher:
        return 0
    held = jax.eval_shape(partial(freeze, dtype=work.teacher.config.dtype), work.teacher.params)
    return _bytes(held) // (jax.device_count() if recipe.shard_teacher else 1)


def tell(needs: Needs, recipe: Recipe, output: Path) -> None:
    """Says what a run needs; a warning says which disk has less room."""
    print(f"this run needs {needs}; --dry-run says what its batches add", file=sys.stderr)
    wanted: dict[int, tuple[Path, int]] = {}
    for path, size in ((output, needs.folder), (recipe.cache, needs.cache)):
        disk = nearest(path).stat().st_dev
        first, before = wanted.get(disk, (path, 0))
        wanted[disk] = first, before + size
    for path, size in wanted.values():
        free = free_bytes(path)
        if size > free:
            warnings.warn(
                f"the disk of {path} has {_in_words(free)} free, and this run needs {_in_words(size)} there: make "
                "room. Once a disk is full a run ends, and the same command continues it from its last checkpoint",
                stacklevel=2,
            )


def _bytes(tree: Any) -> int:
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def _in_words(size: int) -> str:
    return f"{size / 1e9:.2f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"

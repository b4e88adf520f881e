"""A run's folder: free, or this very run's, of the same recipe and the same ingredients; one process at a time."""

import os
import platform
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from tinybert_jax.errors import UserError
from tinybert_jax.processes import from_first, is_first
from tinybert_jax.run.recipe import Recipe
from tinybert_jax.run.recipe_file import differing_fields, to_json, write_recipe
from tinybert_jax.store.files import is_scratch, read_json, sweep, write_json

SYNTHETIC_FOLDER = "synthetic"
_RECIPE_FILE, _INGREDIENTS_FILE = "recipe.json", "ingredients.json"
_LOCK, _OWNER = ".lock", ".owner.json"
_PROBE = ".filelock-probe-"  # for a moment beside the lock, where filelock tries what the file system can
_TRIES = 10  # to claim a folder that other runs take away meanwhile
_BEFORE_A_RUN = {SYNTHETIC_FOLDER, _LOCK, _OWNER}  # what a folder may hold that no run has begun in
# With others of these a run may be continued.
_FREE_TO_CHANGE = ("checkpoint_every", "log_every", "skip_bad_updates", "cache", "shard_teacher")


def check_folder(recipe: Recipe, output: Path) -> None:
    """Checks that `output` is free, or holds a run of this very recipe.

    Raises:
        UserError: the folder holds another recipe's run, or something else; or a figure of the recipe is no number.
    """
    path, now = output / _RECIPE_FILE, to_json(recipe)
    _check_free(output)
    if not path.exists():
        return
    free = (*_FREE_TO_CHANGE, "dtype") if recipe.dtype == "auto" else _FREE_TO_CHANGE  # auto is as it began
    changed = [field for field in differing_fields(read_json(path), now) if field not in free]
    if changed:
        raise UserError(
            f"{output} holds a run of another recipe, different in {', '.join(sorted(changed))}: "
            "name another folder, or give the same recipe and options to continue that run"
        )


def begun_with(output: Path, field: str) -> Any:
    """A field of the recipe that the run in `output` began with; None where none has begun."""
    path = output / _RECIPE_FILE
    return read_json(path)[field] if path.exists() else None


def _check_free(output: Path) -> None:
    """Checks that `output` is a run's or free, whatever other processes do to it at this moment."""
    try:
        foreign = bool(_foreign(output))
    except FileNotFoundError:  # there is none, or none any more
        foreign = False
    except NotADirectoryError:
        foreign = True
    # Asked last, as a run writes it first: what was found may be of one that has begun since.
    if foreign and not (output / _RECIPE_FILE).exists():
        raise UserError(f"{output} exists and holds no run of ours: name a new or an empty folder")


def _foreign(folder: Path) -> set[str]:
    """What a folder holds that is neither there before a run begins, nor left of one that was killed then."""
    names = {item.name for item in folder.iterdir()} - _BEFORE_A_RUN
    return {name for name in names if not is_scratch(name) and not name.startswith(_PROBE)}


def forked(recipe: Recipe, output: Path, new: Path) -> Path:
    """The folder in which the run of `output` begins again.

    Raises:
        UserError: `output` holds no run of this recipe, or is that folder.
    """
    if not (output / _RECIPE_FILE).exists():
        raise UserError(f"--fork {new} begins the run in {output} again, and there is none: leave --fork out")
    if new.absolute() == output.absolute():
        raise UserError(f"--fork must name another folder than the run's, got {new} for both")
    check_folder(recipe, output)
    return new


@contextmanager
def claimed(recipe: Recipe, output: Path) -> Iterator[None]:
    """Keeps other runs out of `output`; a process that ends, however it does, lets them in again.

    Of a run of several processes, the first one does so.

    A folder that was not there, and in which no run was begun, is gone afterwards.

    Raises:
        UserError: as `check_folder`, or another process is at work there: which, and since when.
    """
    if not is_first():
        yield
        return
    to_json(recipe)  # before a folder is made,
    _check_free(output)  # and before anything is written to somebody else's
    is_new = not output.exists()
    try:
        with _locked(output):
            check_folder(recipe, output)  # another process may have been at work there until now
            since = datetime.now().astimezone().isoformat(timespec="seconds")
            write_json(output / _OWNER, {"pid": os.getpid(), "host": platform.node(), "since": since})
            try:
                sweep(output)
                yield
            finally:
                (output / _OWNER).unlink(missing_ok=True)
                if is_new and not (output / _RECIPE_FILE).exists():
                    shutil.rmtree(output, ignore_errors=True)  # another process may be claiming it by now
    except Timeout as error:
        raise UserError(
            f"{output} is being written to by {_owner(output)}: wait for it, stop it, or name another folder"
        ) from error


@contextmanager
def _locked(output: Path) -> Iterator[None]:
    """Holds the folder's lock; makes the folder where it is missing.

    Raises:
        Timeout: another process holds it.
    """
    lock = FileLock(output / _LOCK, blocking=False)
    for tries_left in reversed(range(_TRIES)):
        try:
            output.mkdir(parents=True, exist_ok=True)
            lock.acquire()
            break
        except (FileExistsError, FileNotFoundError):  # another run took its own folder away between two looks at it
            if not tries_left:
                raise
    try:
        yield
    finally:
        lock.release()


def _owner(output: Path) -> str:
    with suppress(UserError, KeyError, TypeError):  # not written yet, or gone already
        owner = read_json(output / _OWNER)
        return f"process {owner['pid']} on {owner['host']}, at work since {owner['since']}"
    return "another process"


def begin(recipe: Recipe, ingredients: Mapping[str, str], output: Path) -> None:
    """Writes down what the run is made of, in its claimed folder; or finds that it is what was written down.

    Of several processes the first one does, and all must have what that one has.

    Args:
        recipe: the run's.
        ingredients: digests by name, as `digests` gives them.
        output: the folder.

    Raises:
        UserError: ingredients have changed since the run began, or are not those of another process.
    """
    first = from_first(lambda: dict(ingredients))
    others = [name for name in first.keys() | ingredients.keys() if first.get(name) != ingredients.get(name)]
    if others:
        raise UserError(f"every process must have the first one's ingredients, got others: {', '.join(sorted(others))}")
    if not is_first():
        return
    path = output / _INGREDIENTS_FILE
    before = read_json(path) if path.exists() else ingredients
    changed = [name for name in before.keys() | ingredients.keys() if before.get(name) != ingredients.get(name)]
    if changed:
        raise UserError(
            f"{output} holds a run of other ingredients: {', '.join(sorted(changed))} changed since it began, and what "
            "it has trained is not of these. Put back what was there to continue it, or give --fork NEW to begin the "
            "same recipe with what is there now in the folder NEW"
        )
    write_recipe(output / _RECIPE_FILE, recipe)  # first: with it, the folder is a run's, however soon it is killed
    write_json(path, ingredients)

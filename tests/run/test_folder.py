"""A free folder that several runs want at once: one has it whole, and nothing of the others is left there."""

import dataclasses
import errno
import os
import shutil
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from tinybert_jax.errors import UserError, run_script
from tinybert_jax.run import folder
from tinybert_jax.run.folder import begin, claimed
from tinybert_jax.run.recipe_file import read_recipe
from tinybert_jax.run.recipes import quickstart

RECIPES = [dataclasses.replace(quickstart(), seed=seed) for seed in range(4)]


@pytest.fixture
def at_once(monkeypatch):
    """`at_once(command)`: the status that `command`, as a script, ends with for each recipe; all begin together."""
    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)  # run_script sets it: put it back
    barrier = threading.Barrier(len(RECIPES))

    def status_of(command, recipe):
        barrier.wait()
        with pytest.raises(SystemExit) as ended:
            run_script(lambda: command(recipe))
        return ended.value.code

    def run(command):
        with ThreadPoolExecutor(len(RECIPES)) as pool:
            return list(pool.map(lambda recipe: status_of(command, recipe), RECIPES))

    return run


@pytest.mark.parametrize("exists", [True, False], ids=["empty", "missing"])
@pytest.mark.parametrize("holds", [True, False], ids=["at-work", "done-at-once"])
def test_of_runs_that_want_one_folder_one_begins_there(tmp_path, at_once, capsys, exists, holds):
    for number in range(12):
        output, refused = tmp_path / str(number), threading.Semaphore(0)
        if exists:
            output.mkdir()

        def command(recipe, output=output, refused=refused):
            try:
                with claimed(recipe, output):
                    begin(recipe, {"train": str(recipe.seed)}, output)
                    for _ in RECIPES[1:] if holds else ():
                        assert refused.acquire(timeout=60)
            except UserError:
                refused.release()
                raise

        statuses = at_once(command)
        assert sorted(statuses) == [0, 2, 2, 2]
        assert read_recipe(output / "recipe.json") == RECIPES[statuses.index(0)]
        assert {path.name for path in output.iterdir()} <= {"recipe.json", "ingredients.json", ".lock"}
        said = capsys.readouterr().err.splitlines()
        why = ("is being written to by", *(() if holds else ("holds a run of another recipe",)))
        assert len(said) == 3 and all(any(reason in line for reason in why) for line in said), said


def test_runs_that_come_to_nothing_while_others_claim_their_folder_take_nothing_away(tmp_path, at_once, capsys):
    for number in range(25):
        output = tmp_path / str(number)

        def command(recipe, output=output):
            with claimed(recipe, output):
                if recipe.seed:
                    raise UserError("its data are missing")
                begin(recipe, {}, output)

        first, *others = at_once(command)
        said = capsys.readouterr().err.splitlines()
        reasons = ("is being written to by", "holds a run of another recipe", "are missing")
        assert others == [2, 2, 2] and all(any(reason in line for reason in reasons) for line in said), said
        assert (output / "recipe.json").exists() == (first == 0)


def test_a_run_that_begins_or_goes_while_another_one_looks_is_nothing_foreign(tmp_path, monkeypatch):
    foreign = folder._foreign

    def after(happens):
        def looked(path):
            monkeypatch.setattr(folder, "_foreign", foreign)
            happens(path)
            return foreign(path)

        (tmp_path / "run").mkdir()
        monkeypatch.setattr(folder, "_foreign", looked)

    after(Path.rmdir)
    with claimed(RECIPES[0], tmp_path / "run"):
        pass
    after(lambda path: (path / ".filelock-probe-0123").touch())  # the other's lock, as filelock makes it
    with claimed(RECIPES[0], tmp_path / "run"):
        pass
    shutil.rmtree(tmp_path / "run")
    after(partial(begin, RECIPES[1], {}))
    with pytest.raises(UserError, match="holds a run of another recipe"), claimed(RECIPES[0], tmp_path / "run"):
        pytest.fail("the folder is another run's")


def test_what_is_no_folder_is_no_run(tmp_path):
    (tmp_path / "file").touch()
    for output in (tmp_path / "file", Path(os.devnull)):
        with pytest.raises(UserError, match="holds no run of ours"), claimed(RECIPES[0], output):
            pytest.fail("there is no folder")


def test_a_folder_that_goes_while_it_is_claimed_is_made_again(tmp_path, monkeypatch):
    mkdir, errors = Path.mkdir, [FileExistsError(errno.EEXIST, "File exists"), FileNotFoundError(errno.ENOENT, "gone")]

    def goes(path, **how):
        if errors:
            raise errors.pop()
        mkdir(path, **how)

    monkeypatch.setattr(Path, "mkdir", goes)
    with claimed(RECIPES[0], tmp_path / "run"):
        assert (tmp_path / "run").is_dir() and not errors
    errors = [FileExistsError(errno.EEXIST, "File exists")] * 100
    with pytest.raises(FileExistsError), claimed(RECIPES[0], tmp_path / "run"):
        pytest.fail("the folder could not be made")


def test_a_folder_that_is_claimed_while_it_is_removed_stays(tmp_path, monkeypatch):
    def not_empty(path, **_):
        raise OSError(errno.ENOTEMPTY, "Directory not empty", str(path))

    monkeypatch.setattr(os, "rmdir", not_empty)  # another process has made its files there
    with pytest.raises(UserError, match="its data are missing"), claimed(RECIPES[0], tmp_path / "run"):
        raise UserError("its data are missing")

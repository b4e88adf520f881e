"""Recipes as files: JSON that reads back to an equal recipe, and Python files that define one."""

import dataclasses
import importlib.util
import json
import math
import sys
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from tinybert_jax.distill import OBJECTIVES, Objective
from tinybert_jax.errors import UserError, check
from tinybert_jax.run.recipe import Recipe
from tinybert_jax.store.files import read_json, write_json

_TAG = "type"  # the key that says which objective an object is


def write_recipe(path: Path, recipe: Recipe) -> None:
    """Writes a recipe as JSON, from which `read_recipe` makes an equal one.

    Raises:
        UserError: a figure is not a number.
    """
    write_json(path, to_json(recipe))


def read_recipe(path: Path) -> Recipe:
    """Reads what `write_recipe` wrote, or somebody by hand: every field must be there.

    Raises:
        UserError: the file is missing or not JSON, fields are missing, unknown or of another type, or the recipe is
            impossible; with the file and the field.
    """
    recipe = _decode(Recipe, read_json(path), str(path), "")
    assert isinstance(recipe, Recipe)
    return recipe


def run_recipe_file(path: Path, name: str) -> Recipe:
    """Executes a Python file and takes a recipe from it, a `Recipe` or a function that returns one.

    Raises:
        UserError: there is no such file, or nothing of that name, or it is no recipe.
    """
    if not path.is_file():
        raise UserError(f"there is no file {path} to take the recipe {name!r} from")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules.setdefault(path.stem, module)  # where the dataclasses that it may define look for their module
    spec.loader.exec_module(module)
    if not hasattr(module, name):
        raise UserError(f"{path} defines no {name!r}")
    found = getattr(module, name)
    recipe = found() if callable(found) else found
    if not isinstance(recipe, Recipe):
        raise UserError(f"{path}: {name} must be a Recipe, or a function that returns one, got {recipe!r}")
    return recipe


def to_json(value: Any, where: str = "") -> Any:
    """Dataclasses as objects of their fields; an objective's says which it is.

    Args:
        value: a recipe, or a part of one.
        where: which part.

    Raises:
        UserError: a figure is not a number: it would differ from itself.
    """
    if dataclasses.is_dataclass(value):
        tag = {_TAG: value.tag} if isinstance(value, Objective) else {}
        names = [field.name for field in dataclasses.fields(value)]
        return tag | {name: to_json(getattr(value, name), _join(where, name)) for name in names}
    if isinstance(value, tuple):
        return [to_json(item, _join(where, i)) for i, item in enumerate(value)]
    if isinstance(value, float) and not math.isfinite(value):
        check(where, value, not math.isnan(value), "a number")
        return str(value)  # JSON has no infinity
    return str(value) if isinstance(value, Path) else value


def differing_fields(one: Any, other: Any, where: str = "") -> list[str]:
    """Where two contents of recipe files differ, as dotted paths: "stages.0.learning_rate"."""
    if type(one) is type(other) and isinstance(one, dict | list):
        ones, others = (dict(enumerate(side)) if isinstance(side, list) else side for side in (one, other))
        keys = dict.fromkeys([*ones, *others])
        return [path for key in keys for path in differing_fields(ones.get(key), others.get(key), _join(where, key))]
    return [] if one == other else [where]


def _join(where: str, name: object) -> str:
    return f"{where}.{name}".strip(".")


def _decode(kind: Any, content: Any, path: str, where: str) -> Any:
    """`content` as a value of the type `kind`, one of those that recipes have."""
    options = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
    for option in options:
        if _fits(option, content):
            return _build(option, content, path, where)
    wanted = " or ".join(map(_in_words, options))
    raise UserError(f"{path}: {where or 'the recipe'} must be {wanted}, got {content!r}")


def _fits(kind: Any, content: Any) -> bool:
    origin = get_origin(kind) or kind
    if origin is Literal:
        return content in get_args(kind)
    if dataclasses.is_dataclass(origin) or issubclass(origin, Objective):
        return isinstance(content, dict)
    if origin in (int, float) and isinstance(content, bool):
        return False
    if origin is float and content in ("inf", "-inf"):
        return True
    shapes = {tuple: list, float: (int, float), Path: str}
    return isinstance(content, shapes.get(origin, origin))


def _in_words(kind: Any) -> str:
    origin = get_origin(kind) or kind
    if origin is Literal:
        return " or ".join(json.dumps(choice) for choice in get_args(kind))
    words = {tuple: "a list", str: "text", Path: "text", bool: "true or false", int: "an integer", float: "a number"}
    return "null" if origin is type(None) else words.get(origin, "an object")


def _build(kind: Any, content: Any, path: str, where: str) -> Any:
    origin = get_origin(kind) or kind
    if origin is Literal:
        return content
    if origin is tuple:
        return tuple(_decode(get_args(kind)[0], item, path, _join(where, i)) for i, item in enumerate(content))
    if origin in (float, Path):
        return origin(content)
    if issubclass(origin, Objective):
        tag = content.get(_TAG)
        if tag not in OBJECTIVES:
            raise UserError(f"{path}: {where}.{_TAG} must be one of {', '.join(OBJECTIVES)}, got {tag!r}")
        origin, content = OBJECTIVES[tag], {key: item for key, item in content.items() if key != _TAG}
    return _build_dataclass(origin, content, path, where) if dataclasses.is_dataclass(origin) else content


def _build_dataclass(kind: type, content: dict[str, Any], path: str, where: str) -> Any:
    hints = get_type_hints(kind)
    names = [field.name for field in dataclasses.fields(kind)]
    complaints = [
        f"{complaint} {', '.join(wrong)}"
        for complaint, wrong in (
            ("unknown:", [_join(where, key) for key in content if key not in names]),
            ("missing:", [_join(where, name) for name in names if name not in content]),
        )
        if wrong
    ]
    if complaints:
        raise UserError(f"{path} must hold a recipe's fields, all of them and no other; {'; '.join(complaints)}")
    values = {name: _decode(hints[name], content[name], path, _join(where, name)) for name in names}
    try:
        return kind(**values)
    except UserError as error:
        raise UserError(f"{path}: {where or 'the recipe'}: {error}") from error

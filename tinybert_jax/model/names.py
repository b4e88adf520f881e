"""What transformers' files call each parameter: both directions, from one table a family (`families.py`).

Our tree keeps BERT's module names for every family. A tensor's name is that of its module, by the family's table, and
that of its leaf, which PyTorch, Flax and BERT's first releases spell differently.
"""

import re
from collections.abc import Collection, Iterable
from typing import NamedTuple

from tinybert_jax.model.families import FAMILIES

TreePath = tuple[str, ...]

_LEAVES = {"kernel": "weight", "scale": "weight", "embedding": "weight", "bias": "bias"}
_FIRST_RELEASES = {"scale": "gamma", "bias": "beta"}  # of LayerNorm
# Copies of parameters, and constants.
_DERIVED = re.compile(r"cls\.predictions\.decoder\..+|(\w+\.)?embeddings\.(position_ids|token_type_ids)")
_HEADS = ("qa_outputs", "cls")
_NUMBER = re.compile(r"(?<=\.)\d+(?=\.)")  # a layer's


class Place(NamedTuple):
    """Where a stored tensor belongs in our tree, and whether it is transposed on the way."""

    path: TreePath
    transposed: bool


def stored_name(family: str, path: TreePath) -> str:
    """The name under which transformers stores a parameter of ours."""
    return f"{_stored_module(family, path[:-1])}.{_LEAVES[path[-1]]}"


def is_transposed(path: TreePath) -> bool:
    """Whether PyTorch holds a parameter of ours the other way round: a linear layer's matrix."""
    return path[-1] == "kernel"


def places(family: str, paths: Iterable[TreePath]) -> dict[str, Place]:
    """Every name under which a file may hold one of our parameters, with its place.

    PyTorch's names and those of BERT's first releases, Flax's, and our own tree's; the encoder's with the family's
    prefix, or without where only the encoder was saved.
    """
    prefix = _stored_module(family, ("bert",)) + "."
    found: dict[str, Place] = {}
    for path in paths:
        module, leaf = _stored_module(family, path[:-1]), path[-1]
        as_is = Place(path, transposed=False)
        leaves = {leaf: as_is, _LEAVES[leaf]: Place(path, is_transposed(path))}
        if path[-2] == "LayerNorm":
            leaves[_FIRST_RELEASES[leaf]] = as_is
        # The heads stand beside the encoder: their names have no prefix, and both entries are the same.
        for spelling, place in leaves.items():
            found[f"{module}.{spelling}"] = found[f"{module}.{spelling}".removeprefix(prefix)] = place
        found[".".join(path)] = as_is
    return found


def is_derived(name: str) -> bool:
    """Whether a stored tensor is a copy of another one, or a constant."""
    return _DERIVED.fullmatch(name) is not None


def is_elsewhere(family: str, name: str, heads: Collection[str]) -> bool:
    """Whether a stored tensor belongs to another head than `heads`."""
    other_heads = tuple(f"{_stored_module(family, (other,))}." for other in _HEADS if other not in heads)
    return name.startswith(other_heads) or re.fullmatch(FAMILIES[family].elsewhere, name) is not None


def _stored_module(family: str, module: TreePath) -> str:
    name = ".".join(module) + "."  # closed by a dot, so that only whole words match
    number = _NUMBER.search(name)
    general = _NUMBER.sub("*", name)
    modules = FAMILIES[family].modules
    ours = max((row for row in modules if general.startswith(f"{row}.")), key=len, default=None)
    if ours is not None:
        general = modules[ours] + general[len(ours) :]
    return (general.replace("*", number[0]) if number else general).rstrip(".")

"""Hashes of files, and of what decides a cache's content."""

import hashlib
from pathlib import Path
from typing import Any

import jax
import numpy as np

# One for the whole cache: raised when the same ingredients would give other content or files, in any kind of entry.
FORMAT = 2


def new_key(*ingredients: object) -> Any:
    """A SHA-256 of `hashlib` that has been fed the ingredients, all of which `repr` must tell apart."""
    return hashlib.sha256(repr((FORMAT, *ingredients)).encode())


def add_params(digest: Any, params: Any) -> None:
    """Feeds a hash of `hashlib` a parameter tree: names, shapes, types and bytes."""
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        array = np.asarray(leaf, order="C")
        digest.update(repr((jax.tree_util.keystr(path), array.shape, array.dtype.name)).encode())
        digest.update(array.reshape(-1).view(np.uint8).data)


def file_digest(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

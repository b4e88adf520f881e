"""Hashes of files, and of what decides a cache's content."""

import hashlib
from pathlib import Path
from typing import Any

import jax
import numpy as np

from tinybert_jax.errors import UserError
from tinybert_jax.store.files import read_json, write_json

# One for the whole cache: raised when the same ingredients would give other content or files, in any kind of entry.
FORMAT = 2
_FILE = "digests.json"


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


def write_digests(folder: Path) -> None:
    """Writes down what the files in a folder are, in a file beside them."""
    write_json(folder / _FILE, _digests(folder))


def check_digests(folder: Path) -> None:
    """Checks that the files in a folder are those that were written down.

    Raises:
        UserError: some are others, or gone; which, and what to do.
    """
    recorded, found = read_json(folder / _FILE), _digests(folder)
    damaged = sorted(name for name in recorded.keys() | found if recorded.get(name) != found.get(name))
    if damaged:
        raise UserError(
            f"{folder} is damaged: {', '.join(damaged)} changed since it was written. Put back what was there; or "
            "remove the folder, and the same command makes it again"
        )


def _digests(folder: Path) -> dict[str, str]:
    return {path.name: file_digest(path) for path in sorted(folder.iterdir()) if path.name != _FILE and path.is_file()}

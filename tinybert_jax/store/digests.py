"""Hashes of what decides a cache's content."""

from typing import Any

import jax
import numpy as np


def add_params(digest: Any, params: Any) -> None:
    """Feeds a hash of `hashlib` a parameter tree: names, shapes, types and bytes."""
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        array = np.asarray(leaf, order="C")
        digest.update(repr((jax.tree_util.keystr(path), array.shape, array.dtype.name)).encode())
        digest.update(array.reshape(-1).view(np.uint8).data)

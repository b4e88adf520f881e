"""Parameters of a network that is run and not trained."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp


def freeze(params: Mapping[str, Any], dtype: str) -> dict[str, Any]:
    """Every matrix in the type that it is multiplied in: in bfloat16, half of the memory and of what a step reads.

    Outputs stay the same to the last bit, as the forward rounds matrices so itself. The span head, which computes in
    float32, stays as it is, and so do biases and LayerNorms.

    Args:
        params: `{"bert": …, "qa_outputs": …}` or `{"bert": …, "cls": …}`, float32.
        dtype: the config's.
    """

    def rounded(path: tuple[Any, ...], x: Any) -> Any:
        multiplied = path[-1].key in ("kernel", "embedding") and path[0].key != "qa_outputs"
        return x.astype(jnp.dtype(dtype)) if multiplied else x

    return jax.tree_util.tree_map_with_path(rounded, params)

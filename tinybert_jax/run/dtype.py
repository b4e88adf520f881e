"""What matrix products compute in, where a recipe leaves that to the machine."""

import dataclasses
import sys
import time
from functools import cache
from pathlib import Path
from typing import get_args

import jax
import jax.numpy as jnp

from tinybert_jax.model.config import Dtype
from tinybert_jax.processes import from_first
from tinybert_jax.run.folder import begun_with
from tinybert_jax.run.recipe import Recipe

_ROWS, _WIDTH = 1024, 768  # a batch's tokens and BERT-base's hidden states
_CLEARLY_FASTER = 1.2  # float32 rounds better: less than that is not worth it


def with_dtype(recipe: Recipe, output: Path) -> Recipe:
    """The recipe with its "auto" decided: as the run in `output` began, or by what is measured here, and said.

    Args:
        recipe: the run's.
        output: its folder.
    """
    if recipe.dtype != "auto":
        return recipe
    begun = from_first(lambda: begun_with(output, "dtype"))
    if begun is not None:
        return dataclasses.replace(recipe, dtype=begun)
    gain = from_first(bfloat16_gain)
    dtype = "bfloat16" if gain >= _CLEARLY_FASTER else "float32"
    print(f"dtype {dtype}: this machine multiplies bfloat16 {gain:.2g} times as fast as float32", file=sys.stderr)
    return dataclasses.replace(recipe, dtype=dtype)


@cache
def bfloat16_gain() -> float:
    """How many times as fast as in float32 matrices are multiplied in bfloat16 here; takes about a second."""
    seconds = {dtype: _seconds(dtype) for dtype in get_args(Dtype)}
    return seconds["float32"] / seconds["bfloat16"]


def _seconds(dtype: Dtype, budget: float = 0.4) -> float:
    """The least time of a product, of those that fit the budget."""
    x, w = jnp.ones((_ROWS, _WIDTH), dtype), jnp.ones((_WIDTH, _WIDTH), dtype)
    multiply = jax.jit(lambda x, w: jnp.matmul(x, w, preferred_element_type=jnp.float32))
    multiply(x, w).block_until_ready()
    least, until = float("inf"), time.perf_counter() + budget
    while time.perf_counter() < until:
        began = time.perf_counter()
        multiply(x, w).block_until_ready()
        least = min(least, time.perf_counter() - began)
    return least

"""Whether the ways around XLA's CPU layouts in `model/ops/cpu_layout.py` still pay: each timed with and without.

    python -m benchmarks.layouts [--repeats 15]

Shapes are BERT-base's, 4 rows of 128 tokens. Times are medians of CPU time, in which other processes hardly show.
"""

import time
from collections.abc import Callable
from functools import partial
from statistics import median
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks.common import command, table
from tinybert_jax.errors import check
from tinybert_jax.model.ops.attention import formed
from tinybert_jax.model.ops.cpu_layout import as_one_matrix
from tinybert_jax.model.ops.platform import CPU, Platform
from tinybert_jax.model.ops.products import heads_first, transposed

PLAIN = Platform(cpu_layouts=False)


def weight_gradient(platform: Platform, x: Any, gradient: Any) -> Any:
    """`transposed`: the gradient of a kernel."""
    return jnp.matmul(transposed(x, platform), gradient, preferred_element_type=jnp.float32)


def scores(platform: Platform, queries: Any, keys: Any) -> Any:
    """`heads_first`: queries times keys, of every head."""
    arrays = (heads_first(x, platform) for x in (queries, keys))
    return jnp.einsum("bnth,bnsh->bnts", *arrays, preferred_element_type=jnp.float32)


def attention(platform: Platform, queries: Any, keys: Any, values: Any) -> Any:
    """Both: the gradients of queries, keys and values."""
    mask = jnp.ones(queries.shape[:2], bool)

    def total(q: Any, k: Any, v: Any) -> Any:
        return formed(q, k, v, mask, platform=platform)[0].sum(dtype=jnp.float32)

    return jax.grad(total, argnums=(0, 1, 2))(queries, keys, values)


def one_matrix(platform: Platform, x: Any, gradient: Any) -> Any:
    """`as_one_matrix`: the gradient of a kernel, summed over tokens in one axis or in two."""
    if platform.cpu_layouts:
        x, gradient = as_one_matrix(x), as_one_matrix(gradient)
    summed = tuple(range(x.ndim - 1))
    return jnp.tensordot(x, gradient, (summed, summed), preferred_element_type=jnp.float32)


CASES: tuple[tuple[Callable[..., Any], tuple[tuple[int, ...], ...]], ...] = (
    (weight_gradient, ((512, 768), (512, 3072))),
    (scores, ((4, 128, 12, 64),) * 2),
    (attention, ((4, 128, 12, 64),) * 3),
    (one_matrix, ((4, 128, 768), (4, 128, 3072))),
)


def milliseconds(function: Callable[[], Any], repeats: int) -> str:
    """The median CPU time; compilation is not in it."""
    jax.block_until_ready(function())
    taken = []
    for _ in range(repeats):
        began = time.process_time()
        jax.block_until_ready(function())
        taken.append(time.process_time() - began)
    return f"{median(taken) * 1e3:.2f}"


def main(repeats: int = 15) -> None:
    """Measures and prints."""
    check("repeats", repeats, repeats >= 1, "at least 1")
    rows = []
    for function, shapes in CASES:
        for dtype in ("float32", "bfloat16"):
            arrays = [jax.random.normal(jax.random.key(i), shape).astype(dtype) for i, shape in enumerate(shapes)]
            row = {"case": function.__name__, "type": dtype}
            for name, platform in (("with, ms", CPU), ("without, ms", PLAIN)):
                row[name] = milliseconds(partial(jax.jit(partial(function, platform)), *arrays), repeats)
            rows.append(row)
    print(f"jax {jax.__version__} on {jax.devices()[0].device_kind}\n\n{table(rows)}")


if __name__ == "__main__":
    command(main, __doc__)

"""Temporary memory of the attention loss's value and gradient, against sequence length.

    python -m benchmarks.attention_memory

Prints, as Markdown, what XLA plans to allocate beside inputs and outputs (`memory_analysis` of the compiled
function; nothing is run): the loss of tinybert_jax beside the same loss of materialised (T, S) matrices.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array

from benchmarks.common import command, table
from tinybert_jax.distill import losses
from tinybert_jax.distill.gram import score_mse_gram

LENGTHS = (384, 768, 1536)
ROWS = (4, 12, 64)  # batch, heads, head width


def materialised_scores(q_s: Array, k_s: Array, q_t: Array, k_t: Array, *masks: Array) -> Array:
    """Mean squared error of score matrices, formed."""
    return losses.attention_mse(losses.attention_scores(q_s, k_s), losses.attention_scores(q_t, k_t), *masks)


LOSSES: dict[str, Callable[..., Array]] = {
    "scores, Gram": score_mse_gram,
    "scores, materialised": materialised_scores,
}


def temp_bytes(loss: Callable[..., Array], length: int, rows: tuple[int, int, int], padding: losses.Padding) -> int:
    """Bytes that the compiled value and gradient allocates beside its arguments and results."""

    def value(arrays: tuple[Array, ...], mask: Array) -> Array:
        return loss(*arrays, mask, losses.positions_of(mask, padding))

    batch, heads, width = rows
    arrays = (jax.ShapeDtypeStruct((batch, length, heads, width), jnp.float32),) * 4
    mask = jax.ShapeDtypeStruct((batch, length), bool)
    analysis = jax.jit(jax.value_and_grad(value)).lower(arrays, mask).compile().memory_analysis()
    assert analysis is not None
    return analysis.temp_size_in_bytes


def main() -> None:
    """Prints the table."""
    rows = []
    for name, loss in LOSSES.items():
        for padding in ("masked", "counted"):
            sizes = {f"T = {t}": temp_bytes(loss, t, ROWS, padding) for t in LENGTHS}
            rows.append({"loss": name, "padding": padding} | {t: f"{size / 2**20:.1f}" for t, size in sizes.items()})
    print(f"MiB of temporaries, batch, heads and head width {ROWS}, {jax.devices()[0].device_kind}\n\n{table(rows)}")


if __name__ == "__main__":
    command(main, __doc__)

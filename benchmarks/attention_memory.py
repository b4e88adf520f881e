"""Temporary memory of the attention loss's value and gradient, against sequence length.

    python -m benchmarks.attention_memory [--batch 4] [--heads 12] [--head-size 64]

Prints, as Markdown, what XLA plans to allocate beside inputs and outputs (`memory_analysis` of the compiled
function; nothing is run): the loss of tinybert_jax beside the same loss of materialised (T, S) matrices.
"""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import Array

from benchmarks.common import command, table
from tinybert_jax.distill import losses
from tinybert_jax.distill.gram import score_mse_gram

LENGTHS = (384, 768, 1536)


@dataclass(frozen=True)
class Args:
    """The command line."""

    batch: int = 4
    heads: int = 12
    head_size: int = 64


def materialised_scores(q_s: Array, k_s: Array, q_t: Array, k_t: Array, *masks: Array) -> Array:
    """Mean squared error of score matrices, formed."""
    return losses.attention_mse(losses.attention_scores(q_s, k_s), losses.attention_scores(q_t, k_t), *masks)


LOSSES: dict[str, Callable[..., Array]] = {
    "scores, Gram": score_mse_gram,
    "scores, materialised": materialised_scores,
}


def temp_bytes(
    loss: Callable[..., Array], length: int, *, batch: int, heads: int, head_size: int, padding: losses.Padding
) -> int:
    """Bytes that the compiled value and gradient allocates beside its arguments and results."""

    def value(arrays: tuple[Array, ...], mask: Array) -> Array:
        return loss(*arrays, mask, losses.positions_of(mask, padding))

    arrays = (jax.ShapeDtypeStruct((batch, length, heads, head_size), jnp.float32),) * 4
    mask = jax.ShapeDtypeStruct((batch, length), bool)
    analysis = jax.jit(jax.value_and_grad(value)).lower(arrays, mask).compile().memory_analysis()
    assert analysis is not None
    return analysis.temp_size_in_bytes


def main(args: Args) -> None:
    """Prints the table."""
    rows = []
    for name, loss in LOSSES.items():
        for padding in ("masked", "counted"):
            sizes = {t: temp_bytes(loss, t, **vars(args), padding=padding) for t in LENGTHS}
            growth = {f"{LENGTHS[-1]} / {LENGTHS[0]}": f"{sizes[LENGTHS[-1]] / sizes[LENGTHS[0]]:.1f}×"}
            mebibytes = {f"T = {t}": f"{size / 2**20:.1f}" for t, size in sizes.items()}
            rows.append({"loss": name, "padding": padding, **mebibytes, **growth})
    print(f"MiB of temporaries, {vars(args)}, on {jax.devices()[0].device_kind}\n\n{table(rows)}")


if __name__ == "__main__":
    command("attention_memory", Args, main, __doc__)

"""Temporary memory of the attention loss's value and gradient, against sequence length.

    python benchmarks/attention_memory.py [--batch 4] [--heads 12] [--head-size 64]

Prints, as Markdown, what XLA plans to allocate beside inputs and outputs (`memory_analysis` of the compiled
function; nothing is run): the loss of tinybert_jax beside the same loss of materialised (T, S) matrices.
"""

import argparse
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jax import Array

from tinybert_jax.distill import losses
from tinybert_jax.distill.gram import score_mse_gram

LENGTHS = (384, 768, 1536)


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


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("batch", 4), ("heads", 12), ("head-size", 64)):
        parser.add_argument(f"--{name}", type=int, default=default)
    sizes = vars(parser.parse_args())
    print(f"MiB of temporaries, {sizes}, on {jax.devices()[0].device_kind}")
    print(f"\n| loss | padding | {' | '.join(f'T = {t}' for t in LENGTHS)} | {LENGTHS[-1]} / {LENGTHS[0]} |")
    print("| --- " * (len(LENGTHS) + 3) + "|")
    for name, loss in LOSSES.items():
        for padding in ("masked", "counted"):
            measured = [partial(temp_bytes, loss, padding=padding, **sizes)(length) for length in LENGTHS]
            cells = " | ".join(f"{size / 2**20:.1f}" for size in measured)
            print(f"| {name} | {padding} | {cells} | {measured[-1] / measured[0]:.1f}× |")


if __name__ == "__main__":
    main()

"""The question-answering networks as StableHLO: one file that `jax.export` reads, with the weights inside."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax import export as jax_export
from jaxtyping import Float, Int

from tinybert_jax.model import BertForQuestionAnswering, Model, forward
from tinybert_jax.model.ops.platform import Platform

_DEVICES = ("cpu", "cuda", "rocm", "tpu")


class _Inputs(NamedTuple):
    input_ids: Array
    token_type_ids: Array
    attention_mask: Array


def to_stablehlo(model: Model) -> bytes:
    """A serialised `jax.export.Exported`; `jax.export.deserialize(content).call(…)` runs it with JAX alone.

    It takes `input_ids`, `attention_mask` and `token_type_ids`, int32 of one shape (batch, length), which any call may
    choose, and gives start and end logits, float32 (batch, length, 2). Only families with segments read
    the third.

    Args:
        model: whose dtype says what products are computed in.
    """
    # Kernels and layouts that depend on the length cannot be chosen for all lengths at once.
    config = dataclasses.replace(model.config, attention_kernel="formed")
    network = BertForQuestionAnswering(config, platform=Platform(cpu_layouts=False))

    def logits(
        input_ids: Int[Array, "B T"], attention_mask: Int[Array, "B T"], token_type_ids: Int[Array, "B T"]
    ) -> Float[Array, "B T 2"]:
        return forward(network, model.params, _Inputs(input_ids, token_type_ids, attention_mask != 0)).logits

    shape = jax_export.symbolic_shape("batch, length", constraints=[f"length <= {config.max_positions}"])
    tokens = jax.ShapeDtypeStruct(shape, jnp.int32)
    return bytes(jax_export.export(jax.jit(logits), platforms=_DEVICES)(tokens, tokens, tokens).serialize())

"""BERT and its relatives in Flax Linen: the parameter tree of transformers, one to one, and one NamedTuple out.

Modules hold parameters and read top to bottom; there are no mode flags. Dropout acts when a "dropout" key is
supplied and not otherwise, and `attention` names the one thing besides hidden states that distillation compares.
The families differ in their embeddings (`families.py`); the tree is BERT's for all of them.
Deliberately left out: the pooler (span heads do not use it), relative positions, decoder and cross-attention.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, Protocol, get_args, runtime_checkable

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Int, PRNGKeyArray

from tinybert_jax.arrays import AnyArray
from tinybert_jax.model.embeddings import Embeddings
from tinybert_jax.model.module import Module
from tinybert_jax.model.ops.activations import ACTIVATIONS
from tinybert_jax.model.ops.attention import choose_kernel, formed, in_blocks, in_cudnn, text_by_text

Params = Mapping[str, Any]
AttentionOutput = Literal["none", "scores", "relations", "probabilities"]
_RETURNED = {"none": "", "scores": "queries keys", "relations": "queries keys values", "probabilities": "probabilities"}


@runtime_checkable
class Inputs(Protocol):
    """What a forward reads; `data.Batch` is one."""

    @property
    def input_ids(self) -> Int[AnyArray, "B T"]: ...
    @property
    def token_type_ids(self) -> Int[AnyArray, "B T"]: ...
    @property
    def attention_mask(self) -> Bool[AnyArray, "B T"]: ...  # True at real tokens


class Outputs(NamedTuple):
    """What a forward returns. Under `jax.jit`, what the caller does not use is not computed.

    Attributes:
        logits: float32; of the start and of the end, K = 2, or of the vocabulary.
        hidden_states: L + 1 of them, the embeddings' output first.
        queries: one a layer, with `attention="scores"` or "relations"; scores are queries · keys / √H.
        keys: one a layer, likewise.
        values: one a layer, with `attention="relations"`.
        probabilities: one a layer, with `attention="probabilities"`: what multiplied the values, so after attention
            dropout where it acts.
    """

    logits: Float[Array, "B T K"]
    hidden_states: tuple[Float[Array, "B T D"], ...]
    queries: tuple[Float[Array, "B T N H"], ...] | None = None
    keys: tuple[Float[Array, "B T N H"], ...] | None = None
    values: tuple[Float[Array, "B T N H"], ...] | None = None
    probabilities: tuple[Float[Array, "B N T S"], ...] | None = None


class _Attended(NamedTuple):
    context: Float[Array, "B T N H"]
    queries: Float[Array, "B T N H"]
    keys: Float[Array, "B S N H"]
    values: Float[Array, "B S N H"]
    probabilities: Float[Array, "B N T S"] | None = None  # where they were formed


class SelfAttention(Module):
    """Multi-head scaled dot-product attention of `rows` to all of `x`."""

    @nn.compact
    def __call__(self, rows: Float[Array, "B R D"], x: Float[Array, "B S D"], mask: Bool[AnyArray, "B S"]) -> _Attended:
        c = self.config

        def project(y: Float[Array, "B T D"], name: str) -> Float[Array, "B T N H"]:
            return self.dense(y, c.hidden_size, name).reshape(*y.shape[:2], c.num_attention_heads, c.head_size)

        q, k, v = project(rows, "query"), project(x, "key"), project(x, "value")
        rate = c.attention_probs_dropout_prob
        drops = rate > 0 and self.has_rng("dropout")
        key = self.make_rng("dropout") if drops else None
        shape = {"length": x.shape[1], "head_size": c.head_size}
        match choose_kernel(c.attention_kernel, self.platform, dtype=q.dtype, drops=drops, **shape):
            case "cudnn":
                return _Attended(in_cudnn(q, k, v, mask), q, k, v)
            case "texts":
                return _Attended(text_by_text(q, k, v, mask, self.platform), q, k, v)
            case "blocks":
                return _Attended(in_blocks(q, k, v, mask, rate, key, self.platform), q, k, v)
        context, probabilities = formed(q, k, v, mask, rate, key, self.platform)
        return _Attended(context, q, k, v, probabilities)


class Residual(Module):
    """Projection, dropout, residual sum and LayerNorm: the end of both halves of a layer.

    Attributes:
        drops: whether dropout acts at all.
    """

    drops: bool = True

    @nn.compact
    def __call__(self, x: Float[Array, "B T I"], residual: Float[Array, "B T D"]) -> Float[Array, "B T D"]:
        x = self.dense(x, self.config.hidden_size, "dense")
        return self.layer_norm(self.drop(x, self.config.hidden_dropout_prob if self.drops else 0.0) + residual)


class Attention(Module):
    """Self-attention and its residual."""

    @nn.compact
    def __call__(
        self, rows: Float[Array, "B R D"], x: Float[Array, "B S D"], mask: Bool[AnyArray, "B S"]
    ) -> tuple[Float[Array, "B R D"], _Attended]:
        attended = SelfAttention(self.config, self.platform, name="self")(rows, x, mask)
        residual = Residual(self.config, self.platform, self.config.family.attention_output_dropout, name="output")
        return residual(attended.context.reshape(rows.shape), rows), attended


class FeedForward(Module):
    """The feed-forward network's first half, "intermediate" in the tree."""

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"]) -> Float[Array, "B T I"]:
        return ACTIVATIONS[self.config.hidden_act](self.dense(x, self.config.intermediate_size, "dense"))


class Layer(Module):
    """One transformer layer: the new states of `rows`, which attend to all of `x`."""

    @nn.compact
    def __call__(
        self, rows: Float[Array, "B R D"], x: Float[Array, "B S D"], mask: Bool[AnyArray, "B S"]
    ) -> tuple[Float[Array, "B R D"], _Attended]:
        rows, attended = Attention(self.config, self.platform, name="attention")(rows, x, mask)
        wide = FeedForward(self.config, self.platform, name="intermediate")(rows)
        return Residual(self.config, self.platform, name="output")(wide, rows), attended


class LayerStack(Module):
    """The layers in order, under the names "0", "1" and so on; the last one only at `positions`, if given."""

    @nn.compact
    def __call__(
        self, x: Float[Array, "B T D"], mask: Bool[AnyArray, "B T"], positions: Int[AnyArray, "B R"] | None = None
    ) -> tuple[list[Array], list[_Attended]]:
        states, attended = [x], []
        for i in range(self.config.num_hidden_layers):
            rows = x
            # Layers before the last need every row: the next one attends to all of them.
            if positions is not None and i == self.config.num_hidden_layers - 1:
                rows = jnp.take_along_axis(x, positions[..., None], axis=1)
            x, one = Layer(self.config, self.platform, name=str(i))(rows, x, mask)
            states.append(x)
            attended.append(one)
        return states, attended


class Encoder(Module):
    """The level of the tree that transformers calls `encoder.layer`."""

    @nn.compact
    def __call__(
        self, x: Float[Array, "B T D"], mask: Bool[AnyArray, "B T"], positions: Int[AnyArray, "B R"] | None = None
    ) -> tuple[list[Array], list[_Attended]]:
        return LayerStack(self.config, self.platform, name="layer")(x, mask, positions)


class Bert(Module):
    """Embeddings and encoder."""

    def setup(self) -> None:
        self.embeddings = Embeddings(self.config, self.platform)
        self.encoder = Encoder(self.config, self.platform)

    def __call__(
        self, inputs: Inputs, positions: Int[AnyArray, "B R"] | None = None
    ) -> tuple[list[Array], list[_Attended]]:
        x = self.embeddings(inputs.input_ids, inputs.token_type_ids, inputs.attention_mask)
        return self.encoder(x, inputs.attention_mask, positions)


def outputs_of(logits: Array, states: list[Array], attended: list[_Attended], attention: AttentionOutput) -> Outputs:
    """What a network with a head returns, of the attention what is asked for."""
    returned = {name: tuple(getattr(one, name) for one in attended) for name in _RETURNED[attention].split()}
    return Outputs(logits, tuple(states), **returned)


class BertForQuestionAnswering(Module):
    """BERT with the span head: one start and one end logit a token.

    Attributes:
        head_dropout: rate of dropout before the head, which BERT does not have and some trainers add.
    """

    head_dropout: float = 0.0

    @nn.compact
    def __call__(self, inputs: Inputs, attention: AttentionOutput = "none") -> Outputs:
        states, attended = Bert(self.config, self.platform, name="bert")(inputs)
        logits = self.dense(self.drop(states[-1], self.head_dropout), 2, "qa_outputs", dtype="float32")
        return outputs_of(logits, states, attended, attention)


def forward(
    model: Module,
    params: Params,
    inputs: Inputs,
    *,
    attention: AttentionOutput = "none",
    dropout_key: PRNGKeyArray | None = None,
) -> Outputs:
    """Runs `model` on a batch: the one way in that the rest of the project uses.

    Args:
        model: BERT with a head; its `platform` says what it runs on.
        params: its parameters, `{"bert": …, "qa_outputs": …}` or `{"bert": …, "cls": …}`.
        inputs: a batch.
        attention: what to return of the attention: queries and keys, with values or without, probabilities, or nothing.
        dropout_key: a key makes dropout act; without one the network is in evaluation.
    """
    if attention not in get_args(AttentionOutput):
        raise ValueError(f"attention must be one of {get_args(AttentionOutput)}, got {attention!r}")
    if attention == "probabilities":  # no other kernel forms them
        model = model.clone(config=dataclasses.replace(model.config, attention_kernel="formed"))
    rngs = None if dropout_key is None else {"dropout": dropout_key}
    outputs = model.apply({"params": params}, inputs, attention, rngs=rngs)
    assert isinstance(outputs, Outputs)
    return outputs


class _Tokens(NamedTuple):
    input_ids: Int[Array, "B T"]
    token_type_ids: Int[Array, "B T"]
    attention_mask: Bool[Array, "B T"]


def init_params(model: Module, key: PRNGKeyArray) -> dict[str, Any]:
    """Parameters at BERT's initialisation: normal(initializer_range) matrices, zero biases, unit scales."""
    ids: Any = jax.ShapeDtypeStruct((1, 1), jnp.int32)  # no parameter's shape depends on the batch's
    real: Any = jax.ShapeDtypeStruct((1, 1), jnp.bool_)
    # Not `init`, which would run the network, each of its operations compiled by itself.
    return dict(model.lazy_init(key, _Tokens(ids, ids, real))["params"])

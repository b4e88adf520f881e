"""BERT with the masked-language-model head, which proposes the words that augmentation puts in place of others."""

import flax.linen as nn
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Int

from tinybert_jax.arrays import AnyArray
from tinybert_jax.model.bert import AttentionOutput, Bert, Inputs, Outputs, Params, outputs_of
from tinybert_jax.model.module import Module
from tinybert_jax.model.ops.activations import ACTIVATIONS


class MaskedLMPredictions(Module):
    """Transform, then scores against the word embeddings themselves (tied decoder)."""

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"], embedding: Float[AnyArray, "V D"]) -> Float[Array, "B T V"]:
        c = self.config
        x = MaskedLMTransform(c, self.platform, name="transform")(x)
        bias = self.param("bias", nn.initializers.zeros, (c.vocab_size,))
        product = jnp.einsum("btd,vd->btv", x, embedding.astype(c.dtype), preferred_element_type=jnp.float32)
        return product + bias


class MaskedLMTransform(Module):
    """Dense, activation, LayerNorm."""

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"]) -> Float[Array, "B T D"]:
        return self.layer_norm(ACTIVATIONS[self.config.hidden_act](self.dense(x, self.config.hidden_size, "dense")))


class MaskedLMHead(Module):
    """The level of the tree that transformers calls `cls.predictions`."""

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"], embedding: Float[AnyArray, "V D"]) -> Float[Array, "B T V"]:
        return MaskedLMPredictions(self.config, self.platform, name="predictions")(x, embedding)


class BertForMaskedLM(Module):
    """BERT with the masked-language-model head."""

    def setup(self) -> None:
        self.bert = Bert(self.config, self.platform)
        self.cls = MaskedLMHead(self.config, self.platform)

    def __call__(self, inputs: Inputs, attention: AttentionOutput = "none") -> Outputs:
        states, attended = self.bert(inputs)
        return outputs_of(self._scores(states[-1]), states, attended, attention)

    def at(self, inputs: Inputs, positions: Int[AnyArray, "B R"]) -> Float[Array, "B R V"]:
        """Logits, only at `positions`."""
        return self._scores(self.bert(inputs, positions)[0][-1])

    def _scores(self, states: Float[Array, "B T D"]) -> Float[Array, "B T V"]:
        return self.cls(states, self.bert.variables["params"]["embeddings"]["word_embeddings"]["embedding"])


def masked_logits(
    model: BertForMaskedLM, params: Params, inputs: Inputs, positions: Int[AnyArray, "B R"]
) -> Float[Array, "B R V"]:
    """The masked-LM head's logits at some positions of a batch, float32.

    The last layer and the projection to the vocabulary are computed only there. For one position a row that saves
    about a quarter of BERT-base's operations.

    Args:
        model: the network, in evaluation.
        params: `{"bert": …, "cls": …}`.
        inputs: a batch.
        positions: in [0, T).
    """
    return jnp.asarray(model.apply({"params": params}, inputs, positions, method=model.at))

import jax
import jax.numpy as jnp
import numpy as np

from tinybert_jax.model import BertConfig, BertForQuestionAnswering, init_params
from tinybert_jax.model.embeddings import Embeddings


def test_a_tables_gradient_is_summed_in_float32_whatever_is_computed_in():
    """In bfloat16 the 256 tokens of one segment would not add up: 256 + 1 is 256 there."""
    config = BertConfig(40, 16, 1, 2, 24, hidden_dropout_prob=0.0, dtype="bfloat16")
    params = init_params(BertForQuestionAnswering(config), jax.random.key(0))["bert"]["embeddings"]
    ids = np.random.default_rng(0).integers(1, 40, (2, 256)).astype(np.int32)
    weights = np.random.default_rng(1).normal(size=(2, 256, 16))

    def value(params, dtype):
        network = Embeddings(BertConfig(**{**vars(config), "dtype": dtype}))
        return (network.apply({"params": params}, ids, ids * 0, ids > 0).astype(jnp.float32) * weights).sum()

    ours, exact = (jax.grad(value)(params, dtype) for dtype in ("bfloat16", "float32"))
    for name in ("word_embeddings", "token_type_embeddings"):
        gradient, expected = ours[name]["embedding"], exact[name]["embedding"]
        assert gradient.dtype == jnp.float32
        assert jnp.linalg.norm(gradient - expected) < 0.01 * jnp.linalg.norm(expected)

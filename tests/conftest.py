"""What several folders of tests share: BERTs small enough to compile in a second, and a padded batch for them."""

import jax
import numpy as np
import pytest

from tinybert_jax.data import Batch
from tinybert_jax.model import BertConfig, BertForQuestionAnswering, init_params


def _random_params(model, seed):
    """Every leaf random, biases and scales too: at BERT's own initialisation a swapped bias would go unseen."""
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(lambda key: init_params(model, key), jax.random.key(0))
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: ((path[-1].key == "scale") + 0.2 * rng.normal(size=leaf.shape)).astype(np.float32), shapes
    )


@pytest.fixture(scope="session")
def random_params():
    """`random_params(model, seed)`: numpy parameters with no leaf at a special value."""
    return _random_params


@pytest.fixture(scope="session")
def config():
    """Two layers, 16 wide."""
    return BertConfig(
        vocab_size=40,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=24,
        max_position_embeddings=16,
    )


@pytest.fixture(scope="session")
def params(config):
    """Question-answering parameters of `config`; read-only."""
    params = _random_params(BertForQuestionAnswering(config), seed=1)
    jax.tree.map(lambda leaf: leaf.setflags(write=False), params)
    return params


@pytest.fixture(scope="session")
def batch():
    """Rows of 8, 5 and 3 real tokens, padded to 8."""
    rng = np.random.default_rng(0)
    real = np.arange(8) < np.array([8, 5, 3])[:, None]
    return Batch(
        input_ids=np.where(real, rng.integers(1, 40, real.shape), 0).astype(np.int32),
        token_type_ids=(real & (np.arange(8) > 1)).astype(np.int32),
        attention_mask=real,
        start=np.array([2, 0, 1], np.int32),
        end=np.array([4, 0, 2], np.int32),
    )

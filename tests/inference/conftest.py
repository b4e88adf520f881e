"""Windows and a small model that several modules' tests use."""

import jax
import numpy as np
import pytest

from tinybert_jax.data import Windows
from tinybert_jax.model import BertConfig, BertForQuestionAnswering, Model, init_params

CONFIG = BertConfig(40, 16, 2, 2, 24, max_position_embeddings=32)


@pytest.fixture(scope="module")
def model():
    return Model(CONFIG, init_params(BertForQuestionAnswering(CONFIG), jax.random.key(0)))


@pytest.fixture(scope="session")
def windows_of():
    return _windows_of


def _windows_of(lengths):
    rng = np.random.default_rng(0)
    splits = np.concatenate([[0], np.cumsum(lengths)])
    position = np.concatenate([np.arange(n) for n in lengths])
    offsets = np.stack([position - 3, position - 2], 1)  # context token i is the character i - 3
    ends = np.repeat(splits[1:], lengths) - 1
    offsets[(position < 3) | (np.arange(splits[-1]) == ends)] = -1
    count = len(lengths)
    zeros = np.zeros(count, np.int32)
    tokens = rng.integers(1, 40, splits[-1]).astype(np.int32)
    return Windows(tokens, offsets.astype(np.int32), splits, zeros + 3, np.arange(count, dtype=np.int32), zeros, zeros)

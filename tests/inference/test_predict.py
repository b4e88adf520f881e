import jax
import numpy as np
import pytest

from tinybert_jax.data import Batch
from tinybert_jax.errors import UserError
from tinybert_jax.inference import JaxNetwork
from tinybert_jax.inference.predict import _read_later, predict_blocks, predict_logits
from tinybert_jax.model import forward


def test_logits_do_not_depend_on_how_windows_are_batched(model, windows_of):
    windows = windows_of([8, 20, 5, 11, 20])
    network = JaxNetwork(model)
    logits = predict_logits(network, windows, batch_size=2, buckets=(12, 24))
    other = predict_logits(network, windows, batch_size=5, buckets=(32,))
    np.testing.assert_allclose(logits, other, atol=1e-6)
    plain_forward = jax.jit(forward, static_argnums=0)
    for w in range(5):  # and each is the forward's, on that window alone
        tokens = windows.tokens[windows.row_splits[w] : windows.row_splits[w + 1]][None]
        segments, none = (np.arange(tokens.shape[1])[None] >= 3).astype(np.int32), np.zeros(1, np.int32)
        batch = Batch(tokens, segments, np.ones(tokens.shape, bool), none, none)
        alone = plain_forward(model.network, model.params, batch).logits[0]
        np.testing.assert_allclose(logits[windows.row_splits[w] : windows.row_splits[w + 1]], alone, atol=1e-6)


def test_blocks_are_the_parts_of_the_whole(model, windows_of):
    network, windows = JaxNetwork(model), windows_of([8, 20, 5, 11, 20, 7, 13, 9])
    settings = {"batch_size": 1, "buckets": (32,)}
    blocks = list(predict_blocks(network, windows, block=5, **settings))
    assert [len(block) for block in blocks] == [windows.row_splits[5], windows.row_splits[8] - windows.row_splits[5]]
    np.testing.assert_array_equal(np.concatenate(blocks), predict_logits(network, windows, **settings))


def test_a_batch_that_no_memory_holds_is_refused(model, windows_of):
    with pytest.raises(UserError, match=r"batch_size must be at most .* got 2147483647"):
        predict_logits(JaxNetwork(model), windows_of([8]), batch_size=2**31 - 1, buckets=(32,))


def test_a_result_is_read_once_later_ones_are_dispatched():
    dispatched = []
    results = _read_later((dispatched.append(i) or i for i in range(5)), count=2)
    assert [(result, len(dispatched)) for result in results] == [(0, 3), (1, 4), (2, 5), (3, 5), (4, 5)]
    assert list(_read_later([], count=2)) == []

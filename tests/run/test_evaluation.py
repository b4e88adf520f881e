import jax
import numpy as np
import pytest

from tinybert_jax.data import Example, Windows
from tinybert_jax.data.squad import Answer
from tinybert_jax.model import BertConfig, BertForQuestionAnswering, forward, init_params
from tinybert_jax.run.evaluation import (
    Dataset,
    _behind,
    evaluate,
    predict_blocks,
    predict_logits,
    write_evaluation,
)

CONFIG = BertConfig(40, 16, 2, 2, 24, max_position_embeddings=32)


@pytest.fixture(scope="module")
def model():
    network = BertForQuestionAnswering(CONFIG)
    return network, init_params(network, jax.random.key(0))


def windows_of(lengths):
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


def test_logits_do_not_depend_on_how_windows_are_batched(model):
    network, params = model
    windows = windows_of([8, 20, 5, 11, 20])
    logits = predict_logits(network, params, windows, batch_size=2, buckets=(12, 24))
    other = predict_logits(network, params, windows, batch_size=5, buckets=(32,))
    np.testing.assert_allclose(logits, other, atol=1e-6)
    for w in range(5):  # and each is the forward's, on that window alone
        tokens = windows.tokens[windows.row_splits[w] : windows.row_splits[w + 1]][None]
        batch = type("Inputs", (), {})
        batch.input_ids, batch.token_type_ids = tokens, (np.arange(tokens.shape[1])[None] >= 3).astype(int)
        batch.attention_mask = np.ones(tokens.shape, bool)
        with jax.disable_jit(False):
            alone = forward(network, params, batch()).logits[0]
        np.testing.assert_allclose(logits[windows.row_splits[w] : windows.row_splits[w + 1]], alone, atol=1e-6)


def test_blocks_are_the_parts_of_the_whole(model):
    network, params = model
    windows = windows_of([8, 20, 5, 11, 20, 7, 13, 9])
    settings = {"batch_size": 1, "buckets": (32,)}
    blocks = list(predict_blocks(network, params, windows, block=5, **settings))
    assert [len(block) for block in blocks] == [windows.row_splits[5], windows.row_splits[8] - windows.row_splits[5]]
    np.testing.assert_array_equal(np.concatenate(blocks), predict_logits(network, params, windows, **settings))


def test_a_result_is_read_once_later_ones_are_dispatched():
    dispatched = []
    results = _behind((dispatched.append(i) or i for i in range(5)), count=2)
    assert [(result, len(dispatched)) for result in results] == [(0, 3), (1, 4), (2, 5), (3, 5), (4, 5)]
    assert list(_behind([], count=2)) == []


def test_evaluation_scores_and_writes_what_it_found(model, tmp_path):
    windows = windows_of([9, 7])
    examples = [Example("q1", "?", "abcde", (Answer("b", 1),)), Example("q2", "?", "xyz", ())]
    evaluation = evaluate(*model, Dataset(examples, windows), batch_size=2, buckets=(16,))
    assert evaluation.metrics["total"] == 2
    assert set(evaluation.answers.predictions) == {"q1", "q2"}
    write_evaluation(tmp_path, evaluation)
    assert {path.name for path in tmp_path.iterdir()} == {"metrics.json", "predictions.json", "null_odds.json"}

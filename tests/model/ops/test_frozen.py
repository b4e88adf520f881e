from dataclasses import replace

import jax
import numpy as np
import pytest

from tinybert_jax.model import BertConfig, BertForMaskedLM, BertForQuestionAnswering, forward, freeze, init_params

CONFIG = BertConfig(40, 16, 2, 2, 24, max_position_embeddings=12)


class _Inputs:
    input_ids = np.random.default_rng(0).integers(1, 40, (2, 8)).astype(np.int32)
    token_type_ids = np.zeros_like(input_ids)
    attention_mask = np.arange(8) < np.array([[8], [5]])


@pytest.mark.parametrize("network", [BertForQuestionAnswering, BertForMaskedLM])
def test_bfloat16_gives_the_same_outputs_to_the_last_bit(network):
    model = network(replace(CONFIG, dtype="bfloat16"))
    params = init_params(model, jax.random.key(0))
    run = jax.jit(lambda params: forward(model, params, _Inputs, attention="scores"))
    frozen = freeze(params, "bfloat16")
    jax.tree.map(np.testing.assert_array_equal, run(frozen), run(params))
    held, before = (sum(x.nbytes for x in jax.tree.leaves(tree)) for tree in (frozen, params))
    assert held < 0.6 * before


def test_float32_is_left_alone():
    params = init_params(BertForQuestionAnswering(CONFIG), jax.random.key(0))
    jax.tree.map(np.testing.assert_array_equal, freeze(params, "float32"), params)


def test_what_computes_in_float32_keeps_it():
    params = freeze(init_params(BertForQuestionAnswering(CONFIG), jax.random.key(0)), "bfloat16")
    assert {x.dtype for x in jax.tree.leaves(params["qa_outputs"])} == {np.dtype(np.float32)}
    assert params["bert"]["encoder"]["layer"]["0"]["output"]["LayerNorm"]["scale"].dtype == np.float32

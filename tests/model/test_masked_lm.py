from functools import partial

import jax
import numpy as np

from tinybert_jax.model import BertForMaskedLM, forward, masked_logits


def test_masked_logits_are_the_head_s_at_those_positions(config, random_params, batch):
    model = BertForMaskedLM(config)
    params = random_params(model, seed=2)
    positions = np.array([[0, 7], [3, 3], [2, 0]])
    everywhere = forward(model, params, batch).logits
    np.testing.assert_allclose(
        masked_logits(model, params, batch, positions),
        np.take_along_axis(np.asarray(everywhere), positions[..., None], axis=1),
        rtol=1e-5,
        atol=1e-5,
    )


def test_masked_logits_skip_the_last_layer_and_the_vocabulary_elsewhere(config, random_params, batch):
    model = BertForMaskedLM(config)
    params = random_params(model, seed=2)

    def flops(function, *arguments):
        return jax.jit(function).lower(*arguments).compile().cost_analysis()["flops"]

    everywhere = flops(lambda params, batch: forward(model, params, batch).logits, params, batch)
    assert flops(partial(masked_logits, model), params, batch, np.zeros((3, 1), np.int32)) < 0.6 * everywhere

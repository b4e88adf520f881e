from dataclasses import replace

import jax
import numpy as np
import pytest

from tinybert_jax.data import Batch
from tinybert_jax.inference.parts import _texts_at_once, logits_in_parts
from tinybert_jax.model import BertForQuestionAnswering, Platform, forward
from tinybert_jax.model.ops.platform import CPU
from tinybert_jax.sharding import data_mesh


@pytest.mark.parametrize(
    ("texts", "length", "tokens", "expected"),
    [(32, 128, 512, 4), (32, 384, 512, 1), (8, 192, 512, 2), (9, 128, 512, 3), (7, 128, 512, 1), (2, 64, 512, 2),
     (32, 384, 0, 32), (1, 600, 512, 1)],
)  # fmt: skip
def test_a_batch_is_a_multiple_of_what_is_taken_at_once(texts, length, tokens, expected):
    assert _texts_at_once(texts, length, tokens) == expected


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_parts_have_the_logits_of_the_whole(config, random_params, dtype):
    config = replace(config, dtype=dtype)
    rng = np.random.default_rng(0)
    real = np.arange(16) < np.array([16, 5, 0, 9])[:, None]
    ids = np.where(real, rng.integers(1, 40, real.shape), 0).astype(np.int32)
    zeros = np.zeros(4, np.int32)
    batch = Batch(ids, (real & (np.arange(16) > 3)).astype(np.int32), real, zeros, zeros)
    params = random_params(BertForQuestionAnswering(config), seed=2)

    def compiled(function, tokens):
        network = BertForQuestionAnswering(config, platform=replace(CPU, tokens_at_once=tokens, cpu_layouts=False))
        return jax.jit(lambda: function(network, params, batch))()

    whole = compiled(lambda *inputs: forward(*inputs).logits, 0)
    parts = compiled(logits_in_parts, 32)
    assert (parts.shape, parts.dtype) == ((4, 16, 2), np.float32)
    tolerance = 2e-6 if dtype == "float32" else 2e-2
    np.testing.assert_allclose(parts, whole, rtol=0, atol=tolerance * float(np.abs(whole).max()))


def test_only_one_cpu_computes_in_parts():
    mesh = data_mesh()
    assert Platform.for_inference(mesh) == replace(CPU, tokens_at_once=512, cpu_layouts=False)
    assert Platform.of(mesh) == CPU

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tinybert_jax.model import BertConfig, BertForQuestionAnswering, forward, init_params
from tinybert_jax.model.ops import attention as module
from tinybert_jax.model.ops.attention import choose_kernel, formed, in_blocks, in_cudnn, text_by_text
from tinybert_jax.model.ops.dropout import dropout
from tinybert_jax.model.ops.platform import CPU, GPU, PORTABLE, TPU

INFERENCE = replace(CPU, tokens_at_once=512)


@pytest.fixture(scope="module")
def inputs():
    """Rows of 150, 70 and 0 real tokens of 150; one more block than the length divides into."""
    rng = np.random.default_rng(0)
    q, k, v = (jnp.asarray(rng.normal(size=(3, 150, 2, 8)), jnp.float32) for _ in range(3))
    return q, k, v, jnp.asarray(np.arange(150) < np.array([150, 70, 0])[:, None])


def by_hand(q, k, v, mask):
    scores = np.einsum("btnh,bsnh->bnts", *(np.asarray(x, np.float64) for x in (q, k))) / np.sqrt(q.shape[-1])
    weights = np.exp(scores - scores.max(-1, keepdims=True)) * np.asarray(mask)[:, None, None, :]
    weights /= np.maximum(weights.sum(-1, keepdims=True), 1e-30)
    return np.einsum("bnts,bsnh->btnh", weights, np.asarray(v, np.float64))


def test_every_way_is_the_equation(inputs):
    expected, real = by_hand(*inputs), np.asarray(inputs[3]).any(-1)
    for context in (formed(*inputs)[0], jax.jit(in_blocks)(*inputs), jax.jit(text_by_text)(*inputs)):
        np.testing.assert_allclose(np.asarray(context)[real], expected[real], atol=2e-6)
        assert np.isfinite(context).all()  # rows without a real token too


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("kernel", ["formed", "blocks", "dropping", "texts"])
def test_what_is_not_a_number_comes_through(kernel, dtype):
    """At these sizes XLA's CPU compiler fuses what a maximum with 0 would hide it in."""
    attend = {
        "formed": lambda *a: formed(*a)[0],
        "blocks": in_blocks,
        "dropping": lambda *a: formed(*a, 0.1, jax.random.key(0))[0],
        "texts": text_by_text,
    }[kernel]
    arrays = [jnp.ones((32, 64, 2, 16), dtype)] * 2
    context = jax.jit(attend)(arrays[0].at[3, 5, 1, 2].set(jnp.nan), *arrays, np.ones((32, 64), bool))
    lost = np.isnan(np.asarray(context, np.float32))
    assert lost[3, 5, 1].all()  # of the row that attends by it, in its head
    assert lost.sum() == 16


@pytest.mark.parametrize("key", [None, 7])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_blocks_drop_what_the_matrix_drops_and_have_its_gradients(inputs, key, dtype):
    q, k, v, mask = inputs
    arrays = tuple(x.astype(dtype) for x in (q, k, v))
    key = None if key is None else jax.random.key(key)
    weights = jnp.asarray(np.random.default_rng(1).normal(size=q.shape), jnp.float32)

    def value(attend, arrays):
        return jnp.sum(attend(*arrays, mask, 0.3, key).astype(jnp.float32) * weights)

    ours = jax.jit(jax.value_and_grad(partial(value, in_blocks)))(arrays)
    theirs = jax.jit(jax.value_and_grad(partial(value, lambda *a: formed(*a)[0])))(arrays)
    tolerance = 1e-5 if dtype == jnp.float32 else 2e-2
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(
            np.asarray(a, np.float32), np.asarray(b, np.float32), rtol=tolerance, atol=tolerance * 4
        ),
        ours,
        theirs,
    )


@pytest.mark.parametrize("key", [None, 7])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_gradients_through_context_and_probabilities_are_those_of_the_plain_equation(inputs, key, dtype):
    *arrays, mask = inputs
    arrays = tuple(x.astype(dtype) for x in arrays)
    dropped = partial(dropout, rate=0.3, key=jax.random.key(key)) if key else lambda probabilities: probabilities

    def plain(q, k, v):
        scores = jnp.einsum("btnh,bsnh->bnts", q, k) * q.shape[-1] ** -0.5
        probabilities = dropped(jax.nn.softmax(jnp.where(mask[:, None, None], scores, jnp.finfo(scores.dtype).min)))
        return jnp.einsum("bnts,bsnh->btnh", probabilities, v), probabilities

    def value(attend, arrays):
        return sum(jnp.sum(y.astype(jnp.float32) * w) for y, w in zip(attend(*arrays), weights, strict=True))

    weights = [np.random.default_rng(1).normal(size=shape) for shape in (arrays[0].shape, (3, 2, 150, 150))]
    attend = partial(formed, mask=mask, rate=0.3, key=None if key is None else jax.random.key(key))
    ours = jax.jit(jax.grad(partial(value, attend)))(arrays)
    theirs = jax.jit(jax.grad(partial(value, plain)))(tuple(x.astype(jnp.float32) for x in arrays))
    for mine, exact in zip(ours, theirs, strict=True):
        assert mine.dtype == dtype
        error = jnp.abs(mine.astype(jnp.float32) - exact).max() / jnp.abs(exact).max()
        assert error < (1e-5 if dtype == jnp.float32 else 1e-2)


@pytest.mark.parametrize("length", [7, 129])
def test_odd_lengths_train_in_bfloat16(length):
    """XLA's CPU compiler makes of plain transpositions a product that it cannot compute in bfloat16."""
    arrays = [jnp.ones((1, length, 2, 8), jnp.bfloat16)] * 3
    mask = np.ones((1, length), bool)
    for attend in (lambda *a: formed(*a)[0], in_blocks):
        gradients = jax.jit(jax.grad(lambda arrays, attend=attend: attend(*arrays, mask).sum()))(arrays)
        np.testing.assert_allclose(np.asarray(gradients[2], np.float32), 1, rtol=2e-2)  # every value counts once


def test_without_a_key_the_rate_means_nothing(inputs):
    for with_rate, without in zip(formed(*inputs, 0.3), formed(*inputs), strict=True):
        np.testing.assert_array_equal(with_rate, without)
    np.testing.assert_array_equal(in_blocks(*inputs, 0.3), in_blocks(*inputs))


def test_memory_of_value_and_gradient_grows_with_the_length_not_its_square():
    def temporaries(attend, length):
        arrays = (jax.ShapeDtypeStruct((1, length, 2, 8), jnp.float32),) * 3
        mask = jax.ShapeDtypeStruct((1, length), bool)
        gradient = jax.jit(jax.grad(lambda arrays, mask: attend(*arrays, mask).sum()))
        return gradient.lower(arrays, mask).compile().memory_analysis().temp_size_in_bytes

    growth = temporaries(in_blocks, 2048) / temporaries(in_blocks, 512)
    assert growth < 6
    assert temporaries(lambda *a: formed(*a)[0], 2048) / temporaries(lambda *a: formed(*a)[0], 512) > 10


@pytest.mark.parametrize(
    ("platform", "length", "dtype", "head_size", "drops", "expected"),
    [
        (CPU, 128, "bfloat16", 64, False, "formed"),
        (CPU, 256, "bfloat16", 64, True, "formed"),
        (CPU, 384, "bfloat16", 64, True, "blocks"),
        (GPU, 384, "bfloat16", 64, False, "cudnn"),
        (GPU, 128, "bfloat16", 64, False, "cudnn"),
        (GPU, 384, "bfloat16", 64, True, "formed"),
        (GPU, 384, "float32", 64, False, "formed"),
        (GPU, 384, "bfloat16", 26, False, "formed"),
        (GPU, 1024, "bfloat16", 64, True, "blocks"),
        (TPU, 384, "bfloat16", 64, False, "blocks"),
        (PORTABLE, 384, "bfloat16", 64, False, "blocks"),
        (INFERENCE, 384, "float32", 32, False, "texts"),
        (INFERENCE, 128, "bfloat16", 64, False, "texts"),
        (INFERENCE, 384, "float32", 32, True, "blocks"),
    ],
)
def test_what_auto_stands_for(platform, length, dtype, head_size, drops, expected):
    asked = {"length": length, "dtype": jnp.dtype(dtype), "head_size": head_size, "drops": drops}
    assert choose_kernel("auto", platform, **asked) == expected
    assert choose_kernel("formed", platform, **asked) == "formed"


def test_cudnn_is_asked_for_what_the_others_compute(inputs, monkeypatch):
    """Without a GPU, XLA's kernel stands for cuDNN's: what is tested is how it is called."""
    attend, asked = jax.nn.dot_product_attention, []

    def by_xla(*arrays, implementation, mask):
        asked.append((implementation, mask.shape))
        return attend(*arrays, implementation="xla", mask=mask)

    monkeypatch.setattr(jax.nn, "dot_product_attention", by_xla)
    real = np.asarray(inputs[3]).any(-1)
    np.testing.assert_allclose(in_cudnn(*inputs)[real], by_hand(*inputs)[real], atol=2e-6)
    assert asked == [("cudnn", (3, 1, 150, 150))]


@pytest.mark.parametrize("drops", [False, True])
def test_the_network_computes_the_same_with_any_kernel(monkeypatch, drops):
    monkeypatch.setattr(module, "_BLOCK", 16)
    config = BertConfig(40, 16, 2, 2, 24, max_position_embeddings=48)
    params = init_params(BertForQuestionAnswering(config), jax.random.key(0))
    ids = np.random.default_rng(0).integers(1, 40, (2, 40)).astype(np.int32)
    inputs = _Inputs(ids, ids * 0, np.arange(40) < np.array([[40], [23]]))
    key = jax.random.key(1) if drops else None
    outputs = [
        forward(BertForQuestionAnswering(replace(config, attention_kernel=kernel)), params, inputs, dropout_key=key)
        for kernel in ("formed", "blocks")
    ]
    np.testing.assert_allclose(outputs[0].hidden_states, outputs[1].hidden_states, atol=1e-5)
    asked = forward(
        BertForQuestionAnswering(replace(config, attention_kernel="blocks")), params, inputs, attention="probabilities"
    )
    assert [layer.shape for layer in asked.probabilities] == [(2, 2, 40, 40)] * 2


class _Inputs:
    def __init__(self, input_ids, token_type_ids, attention_mask):
        self.input_ids, self.token_type_ids, self.attention_mask = input_ids, token_type_ids, attention_mask

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator

from tinybert_jax.data import Batch
from tinybert_jax.deploy.graph import OPSET, Graph
from tinybert_jax.deploy.onnx import ACTIVATIONS, to_onnx
from tinybert_jax.errors import UserError
from tinybert_jax.inference.onnx_network import OnnxNetwork
from tinybert_jax.model import BertConfig, forward
from tinybert_jax.model.ops import activations
from tinybert_jax.store.files import write_json


def batch_of(lengths, to, vocabulary=40):
    """Rows of so many real tokens, RoBERTa's padding token among them, padded with zeros."""
    rng = np.random.default_rng(len(lengths))
    real = np.arange(to) < np.array(lengths)[:, None]
    ids = np.where(real, rng.integers(1, vocabulary, real.shape), 0).astype(np.int32)
    segments = (real & (np.arange(to) > 3)).astype(np.int32)
    return Batch(ids, segments, real, np.zeros(len(lengths), np.int32), np.zeros(len(lengths), np.int32))


@pytest.fixture(scope="session")
def session(network, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported")
    (folder / "onnx").mkdir()
    onnx.save(to_onnx(*network), folder / "onnx" / "model.onnx")
    write_json(folder / "config.json", network.config.to_transformers())
    return OnnxNetwork.load(folder)


@pytest.mark.parametrize(("lengths", "to"), [([8], 8), ([33, 5, 0], 33), ([20, 40], 40)])
def test_onnxruntime_computes_what_the_forward_does(network, session, lengths, to):
    """Batches of several sizes and lengths, with padding, and with a row that holds nothing else."""
    assert session.config == network.config
    batch = batch_of(lengths, to)
    outputs = jax.jit(partial(forward, network.network, network.params, attention="probabilities"))(batch)
    assert np.max(outputs.probabilities[0], -1).mean() > 3 / to, "attention must not be uniform"
    logits = session(batch)
    assert (logits.shape, logits.dtype) == ((len(lengths), to, 2), np.float32)
    np.testing.assert_allclose(logits, outputs.logits, rtol=0, atol=1e-4)


def test_the_file_is_what_runtimes_expect(network):
    model = to_onnx(*network)
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", OPSET)]
    assert model.ir_version == 8
    inputs = [value.name for value in model.graph.input]
    segments = ["token_type_ids"] if network.config.model_type in ("bert", "electra") else []
    assert inputs == ["input_ids", "attention_mask", *segments]
    assert [value.name for value in model.graph.output] == ["start_logits", "end_logits"]
    for value in (*model.graph.input, *model.graph.output):
        assert [axis.dim_param for axis in value.type.tensor_type.shape.dim] == ["batch", "length"]
    assert model.SerializeToString() == to_onnx(*network).SerializeToString()  # nothing in it depends on the moment


def test_every_activation_can_be_exported():
    assert ACTIVATIONS.keys() == activations.ACTIVATIONS.keys()


@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
def test_an_activation_is_the_same_equation(name):
    x = np.linspace(-6, 6, 101, dtype=np.float32)[None]
    g = Graph({"x": x})
    (found,) = ReferenceEvaluator(g.model([], {"y": ACTIVATIONS[name](g, "x")})).run(None, {})
    np.testing.assert_allclose(found, activations.ACTIVATIONS[name](jnp.asarray(x)), rtol=0, atol=2e-6)


def test_a_model_beyond_one_file_is_refused_before_its_parameters_are_looked_at():
    large = BertConfig(hidden_size=2048, num_hidden_layers=24, num_attention_heads=16, intermediate_size=8192)
    with pytest.raises(UserError, match=r"less than 2 GiB.*, got 4\.\d\d GiB: distil"):
        to_onnx(large, {})

import numpy as np
import onnx
import pytest

from tinybert_jax.data import Batch
from tinybert_jax.deploy.onnx import to_onnx
from tinybert_jax.deploy.quantisation import write_int8
from tinybert_jax.inference.onnx_network import OnnxNetwork
from tinybert_jax.store.files import write_json


@pytest.fixture(scope="module")
def folder(config, params, tmp_path_factory):
    folder = tmp_path_factory.mktemp("quantised")
    (folder / "onnx").mkdir()
    model = to_onnx(config, params)
    before = model.SerializeToString()
    onnx.save(model, folder / "onnx" / "model.onnx")
    write_int8(model, folder / "onnx" / "model_int8.onnx")
    assert model.SerializeToString() == before
    write_json(folder / "config.json", config.to_transformers())
    return folder


def test_matrices_are_int8_with_a_scale_a_column_and_the_head_is_float(folder, config):
    graph = onnx.load(folder / "onnx" / "model_int8.onnx").graph
    arrays = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    kernel = "bert.encoder.layer.1.output.dense.kernel"
    assert (arrays[f"{kernel}_quantized"].dtype, arrays[f"{kernel}_quantized"].shape) == (np.int8, (24, 16))
    assert arrays[f"{kernel}_scale"].shape == (16,)
    assert (
        np.abs(arrays[f"{kernel}_quantized"].astype(int)).max() <= 64
    )  # of 127: no processor clips a sum of two products
    assert arrays["bert.embeddings.word_embeddings.embedding_quantized"].itemsize == 1
    assert arrays["qa_outputs.kernel"].dtype == np.float32
    integer = [node for node in graph.node if node.op_type == "MatMulInteger"]
    assert len(integer) == 6 * config.num_hidden_layers


def test_answers_stay_close(folder):
    rng = np.random.default_rng(0)
    ids = rng.integers(2, 40, (4, 16)).astype(np.int32)
    zeros = np.zeros(4, np.int32)
    batch = Batch(ids, ids * 0, np.ones(ids.shape, bool), zeros, zeros)
    exact, rounded = (OnnxNetwork.load(folder, f"onnx/{name}.onnx")(batch) for name in ("model", "model_int8"))
    assert 0 < np.abs(rounded - exact).mean() < 0.1 * exact.std()

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from tinybert_jax.data import Batch
from tinybert_jax.deploy.onnx import to_onnx
from tinybert_jax.errors import UserError
from tinybert_jax.inference.onnx_network import OnnxNetwork
from tinybert_jax.store.files import write_json


@pytest.fixture
def folder(tmp_path, config, params):
    (tmp_path / "onnx").mkdir()
    onnx.save(to_onnx(config, params), tmp_path / "onnx" / "model.onnx")
    write_json(tmp_path / "config.json", config.to_transformers())
    return tmp_path


def test_it_is_called_like_a_network(folder, config, batch):
    network = OnnxNetwork.load(folder)
    assert network.config == config
    assert network(batch).shape == (3, 8, 2)


def test_the_float_file_is_preferred_and_another_can_be_named(folder, batch):
    exact = OnnxNetwork.load(folder)(batch)
    model = onnx.load(folder / "onnx" / "model.onnx")
    bias = next(tensor for tensor in model.graph.initializer if tensor.name == "qa_outputs.bias")
    bias.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(bias) + 1, bias.name))
    onnx.save(model, folder / "onnx" / "model_int8.onnx")
    np.testing.assert_array_equal(OnnxNetwork.load(folder)(batch), exact)
    np.testing.assert_allclose(OnnxNetwork.load(folder, "onnx/model_int8.onnx")(batch), exact + 1, atol=1e-5)
    (folder / "onnx" / "model.onnx").unlink()
    np.testing.assert_allclose(OnnxNetwork.load(folder)(batch), exact + 1, atol=1e-5)


def test_a_batch_too_long_is_refused(folder):
    row, number = np.ones((1, 17), np.int32), np.zeros(1, np.int32)
    with pytest.raises(UserError, match="position table, which holds 16 tokens, got 17"):
        OnnxNetwork.load(folder)(Batch(row, row, row > 0, number, number))


def test_what_is_no_export_is_refused_in_one_line(folder, tmp_path):
    def refused(file=None):
        with pytest.raises(UserError) as caught:
            OnnxNetwork.load(folder, file)
        return str(caught.value)

    assert "there is none" in refused("onnx/model_q4.onnx")
    (folder / "onnx" / "garbage.onnx").write_bytes(b"garbage")
    assert refused("onnx/garbage.onnx").startswith("onnxruntime cannot read ")
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Neg", ["x"], ["y"])], "other", [values[0]], [values[1]])
    other = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(other, folder / "onnx" / "other.onnx")
    assert "got a network that reads x and makes y: it is not a question-answering export" in refused("onnx/other.onnx")
    (folder / "onnx" / "model.onnx").unlink()
    assert "onnx/model.onnx or onnx/model_int8.onnx must be there" in refused()


def test_without_the_extra_one_line_says_how_to_install_it(folder, monkeypatch):
    def absent(name):
        raise ModuleNotFoundError(f"No module named {name!r}")

    monkeypatch.setattr("importlib.import_module", absent)
    with pytest.raises(UserError, match=r"^onnxruntime must be installed .* pip install 'tinybert-jax\[onnx\]'$"):
        OnnxNetwork.load(folder)


def test_too_old_a_runtime_is_named_with_the_least_one(folder, monkeypatch):
    monkeypatch.setattr("tinybert_jax.extras.version", lambda package: "1.8.0")
    with pytest.raises(UserError, match=r"^onnxruntime must be at least 1\.20, got 1\.8\.0: pip install"):
        OnnxNetwork.load(folder)

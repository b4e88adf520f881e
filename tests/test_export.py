import json
import sys
import warnings

import jax
import numpy as np
import pytest

from tests.cased_model import write_cased_model
from tests.hub_server import WRITER
from tinybert_jax.data import load_tokenizer
from tinybert_jax.errors import run_script
from tinybert_jax.export import export, main
from tinybert_jax.inference.onnx_network import OnnxNetwork
from tinybert_jax.model import BertConfig, forward, load_pretrained, load_qa_model, save_pretrained
from tinybert_jax.store.files import write_json


@pytest.fixture
def source(tmp_path, config, params):
    """A model folder with a tokenizer, and settings that were tuned for it."""
    folder = write_cased_model(tmp_path / "source", config, params)
    (folder / "question_answering.json").write_text('{"null_threshold": 1.5}')
    return folder


def run(monkeypatch, *arguments):
    """The command line; its exit status."""
    monkeypatch.setattr("tinybert_jax.run.runtime.configure", lambda: None)
    monkeypatch.setattr(sys, "argv", ["export", *map(str, arguments)])
    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)  # run_script sets it: put it back
    with pytest.raises(SystemExit) as exit_:
        run_script(main)
    return exit_.value.code


def files_of(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_the_onnx_folder_holds_what_runtimes_look_for(monkeypatch, capsys, tmp_path, source, batch):
    out = tmp_path / "out"
    assert run(monkeypatch, source, out, "--to", "onnx", "--int8") == 0
    printed = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert printed == [f"{out}/onnx/model.onnx", f"{out}/onnx/model_int8.onnx"]
    beside = {"config.json", "tokenizer.json", "tokenizer_config.json", "question_answering.json"}
    assert files_of(out) == beside | {"onnx/model.onnx", "onnx/model_int8.onnx"}
    assert json.loads((out / "question_answering.json").read_text()) == {"null_threshold": 1.5}
    assert load_tokenizer(out).tokenize("Hello worlds") == ["Hello", "world", "##s"]
    model = load_qa_model(str(source))
    network = OnnxNetwork.load(out)
    assert network.config == model.config
    logits = jax.jit(lambda batch: forward(model.network, model.params, batch).logits)(batch)
    np.testing.assert_allclose(network(batch), logits, rtol=0, atol=1e-4)
    assert {path.name for path in tmp_path.iterdir()} == {"source", "out"}


def test_an_export_is_pushed_as_it_stands(hub_server, monkeypatch, capsys, tmp_path, source):
    monkeypatch.setenv("HF_TOKEN", WRITER)
    out = tmp_path / "out"
    assert run(monkeypatch, source, out, "--push-to-hub", "ada/small", "--private") == 0
    repo = hub_server.repos["models", "ada/small"]
    assert repo.private
    assert repo.files == {".gitattributes": b""} | {name: (out / name).read_bytes() for name in files_of(out)}
    assert f"pushed to {hub_server.url}/ada/small" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "message"),
    [(["--push-to-hub", "ada/small"], "needs a token"), (["--private"], "give --push-to-hub ID too")],
    ids=["no token", "private alone"],
)
def test_a_push_that_cannot_go_well_exports_nothing(hub_server, monkeypatch, capsys, tmp_path, source, flags, message):
    assert run(monkeypatch, source, tmp_path / "out", *flags) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_an_export_that_cannot_be_measured_is_not_written(certified, monkeypatch, capsys, tmp_path):
    config, params = load_pretrained(certified / "student")
    params["qa_outputs"]["kernel"] = np.full_like(params["qa_outputs"]["kernel"], 3e38)  # their sums overflow
    save_pretrained(tmp_path / "source", config, params, load_tokenizer(certified / "student"))
    assert run(monkeypatch, tmp_path / "source", tmp_path / "out", "--data", certified / "data.json") == 2
    assert "logits must be finite" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_the_stablehlo_folder_holds_one_network(tmp_path, source, capsys):
    (source / "question_answering.json").unlink()
    export(str(source), tmp_path / "out", "stablehlo")
    assert files_of(tmp_path / "out") == {
        "config.json", "tokenizer.json", "tokenizer_config.json", "model.stablehlo",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("spoil", "arguments", "message"),
    [
        (lambda source: (source.parent / "out").mkdir(), [], "out exists already: name a new folder"),
        (lambda source: None, ["--to", "stablehlo", "--int8"], "--int8 belongs to --to onnx, got --to stablehlo"),
        (lambda source: None, ["--to", "stablehlo", "--data", "x"], "--data, for a certificate, belongs to --to onnx"),
        (lambda source: None, ["--data", "x.json"], "x.json does not exist"),
        (lambda source: None, ["--teacher", "x"], "for a certificate: give the --data to measure on, too"),
        (lambda source: (source / "vocab.txt").unlink(), [], "tokenizer"),
        (lambda source: (source / "model.safetensors").write_bytes(b"garbage"), [], "cannot read the weights"),
    ],
    ids=["existing", "int8", "stablehlo data", "data", "teacher", "tokenizer", "weights"],
)
def test_bad_input_is_one_line_and_leaves_nothing(monkeypatch, capsys, tmp_path, source, spoil, arguments, message):
    spoil(source)
    before = files_of(tmp_path)
    assert run(monkeypatch, source, tmp_path / "out", *arguments) == 2
    error = capsys.readouterr().err
    assert message in error and len(error.splitlines()) == 1
    assert files_of(tmp_path) == before


def test_a_model_without_a_trained_head_is_refused(monkeypatch, capsys, tmp_path, source, config, params):
    save_pretrained(tmp_path / "encoder", config, {"bert": params["bert"]})
    for name in ("vocab.txt", "tokenizer_config.json"):
        (source / name).rename(tmp_path / "encoder" / name)
    assert run(monkeypatch, tmp_path / "encoder", tmp_path / "out") == 2
    assert "is an encoder without a question-answering head" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_large_or_unknown_network_is_refused_by_its_config_alone(monkeypatch, capsys, tmp_path, source):
    large = BertConfig(hidden_size=2048, num_hidden_layers=24, num_attention_heads=16, intermediate_size=8192)
    (source / "model.safetensors").unlink()
    write_json(source / "config.json", large.to_transformers())
    assert run(monkeypatch, source, tmp_path / "out") == 2
    assert "less than 2 GiB" in capsys.readouterr().err
    write_json(source / "config.json", large.to_transformers() | {"hidden_act": "mish"})
    assert run(monkeypatch, source, tmp_path / "out") == 2
    assert "hidden_act must be one of gelu, " in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("package", ["onnx", "onnxruntime"])
def test_without_the_extra_nothing_is_read(monkeypatch, capsys, tmp_path, package):
    monkeypatch.setitem(sys.modules, package, None)  # what an import finds of a package that is not there
    assert run(monkeypatch, tmp_path / "nowhere", tmp_path / "out") == 2
    assert capsys.readouterr().err.startswith(f"error: {package} must be installed for this")
    monkeypatch.undo()
    monkeypatch.setattr("tinybert_jax.extras.version", lambda name: "1.5.0")
    assert run(monkeypatch, tmp_path / "nowhere", tmp_path / "out") == 2
    assert capsys.readouterr().err.startswith("error: onnx must be at least 1.17, got 1.5.0: pip install")

"""Where a model's weights are, whatever their layout."""

import shutil

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from tinybert_jax.errors import UserError
from tinybert_jax.inference.loading import find, weights_digest, weights_files
from tinybert_jax.model import save_pretrained
from tinybert_jax.store.digests import file_digest
from tinybert_jax.store.files import write_json


@pytest.fixture
def folder(tmp_path, config, params):
    save_pretrained(tmp_path / "model", config, params)
    return tmp_path / "model"


def names(folder):
    return [path.relative_to(folder).as_posix() for path in weights_files(folder)]


def test_a_file_s_digest_is_that_of_the_weights(folder):
    assert names(folder) == ["model.safetensors"]
    assert weights_digest(folder) == file_digest(folder / "model.safetensors")


def test_shards_are_all_of_them_weights(folder):
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    halves = np.array_split(sorted(tensors), 2)
    placed = {name: f"model-{i}.safetensors" for i, half in enumerate(halves) for name in half.tolist()}
    for file in set(placed.values()):
        save_file({name: tensors[name] for name in placed if placed[name] == file}, folder / file)
    write_json(folder / "model.safetensors.index.json", {"weight_map": placed})
    assert names(folder) == ["model.safetensors.index.json", "model-0.safetensors", "model-1.safetensors"]
    before = weights_digest(folder)
    shutil.copytree(folder, folder.parent / "copy")
    assert weights_digest(folder.parent / "copy") == before
    (folder / "model-1.safetensors").write_bytes(b"")
    assert weights_digest(folder) != before


def test_an_exported_file_belongs_to_the_folder_around_it(folder):
    (folder / "onnx").mkdir()
    for name in ("model", "model_int8"):
        (folder / "onnx" / f"{name}.onnx").write_bytes(name.encode())
    file = folder / "onnx" / "model_int8.onnx"
    assert find(file) == (folder.absolute(), "onnx/model_int8.onnx") and find(file).is_exported
    assert weights_digest(file) == file_digest(file)
    assert find(folder) == (folder, "model.safetensors")
    (folder / "model.safetensors").unlink()
    assert find(folder) == (folder, "onnx/model.onnx")
    shutil.rmtree(folder / "onnx")
    assert find(folder) == (folder, None)
    with pytest.raises(UserError, match=r"holds no weights: one of model\.safetensors, .*onnx/model\.onnx"):
        weights_files(folder)

from types import SimpleNamespace

import huggingface_hub
import pytest

from tinybert_jax.errors import UserError
from tinybert_jax.hub import check_fetched, locate


class Hub:
    """Stands in for the hub: what it lists, and what was asked of it."""

    def __init__(self, monkeypatch, folder):
        self.files, self.cached, self.asked, self.error = [], True, [], None
        self.folder = folder
        monkeypatch.setattr(huggingface_hub.HfApi, "model_info", self.model_info)
        monkeypatch.setattr(huggingface_hub, "snapshot_download", self.snapshot_download)

    def model_info(self, name):
        self.asked.append(name)
        if self.error is not None:
            raise self.error
        return SimpleNamespace(siblings=[SimpleNamespace(rfilename=file) for file in self.files])

    def snapshot_download(self, name, **options):
        self.asked.append(options)
        if options.get("local_files_only") and not self.cached:
            raise huggingface_hub.errors.LocalEntryNotFoundError("not in the cache")
        return str(self.folder)


@pytest.fixture
def hub(monkeypatch, tmp_path):
    return Hub(monkeypatch, tmp_path / "snapshot")


def test_a_folder_is_its_own_place(hub, tmp_path):
    assert locate(tmp_path) == locate(str(tmp_path)) == tmp_path
    assert hub.asked == []


@pytest.mark.parametrize("name", ["./model", "/no/such/model", "runs/quickstart/export", "../model", "~/model"])
def test_what_is_no_hub_id_is_reported_as_a_missing_folder(hub, name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=f"there is no folder '{name}'"):
        locate(name)
    assert hub.asked == []


def test_a_file_is_no_model(hub, tmp_path):
    (tmp_path / "weights.bin").touch()
    with pytest.raises(UserError, match=r"a model is a folder with a config\.json"):
        locate(tmp_path / "weights.bin")


@pytest.mark.parametrize(
    ("files", "fetched"),
    [
        (["pytorch_model.bin", "model.safetensors", "flax_model.msgpack", "tf_model.h5"], "model.safetensors"),
        (["pytorch_model.bin", "flax_model.msgpack"], "flax_model.msgpack"),
        (["pytorch_model.bin", "vocab.txt"], "pytorch_model.bin"),
        (["pytorch_model.bin", "model.safetensors.index.json"], "model-*.safetensors"),
        (["pytorch_model.bin.index.json", "vocab.txt"], "pytorch_model-*.bin"),
    ],
)
def test_one_set_of_weights_is_fetched(hub, files, fetched):
    hub.files = files
    assert locate("someone/model") == hub.folder
    assert hub.asked == ["someone/model", {"allow_patterns": ["*.json", "vocab.txt", "merges.txt", fetched]}]


def test_without_a_connection_the_cache_serves(hub):
    hub.error = ConnectionError("unreachable")
    assert locate("someone/model") == hub.folder
    assert hub.asked == ["someone/model", {"local_files_only": True}]


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ConnectionError("Name or\nservice not known"), "Name or service not known"),
        (TimeoutError(), "TimeoutError"),
        (ValueError("404, no such repository"), "404, no such repository"),
    ],
)
def test_what_neither_hub_nor_cache_has_is_reported_with_the_hubs_reason(hub, error, reason):
    hub.error, hub.cached = error, False
    with pytest.raises(UserError, match=f"'bert-tiny' is neither a folder here nor a model .* give: {reason}"):
        locate("bert-tiny")


def test_a_name_the_hub_cannot_have_is_reported(monkeypatch):
    with pytest.raises(UserError, match="'no such model!' is neither a folder here nor a model the hub would give: "):
        locate("no such model!")  # refused by the client before any request


def test_a_git_lfs_pointer_is_not_the_file(tmp_path):
    pointer = tmp_path / "model.safetensors"
    pointer.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n")
    with pytest.raises(UserError, match=r"model\.safetensors is a Git LFS pointer, not the file: run `git lfs pull`"):
        check_fetched(pointer)
    pointer.write_bytes(b"vers")
    check_fetched(pointer)

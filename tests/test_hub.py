"""Models by name, fetched from a hub on loopback by the hub's own client."""

import pytest

from tests.hub_server import READER, WRITER
from tests.tiny_run import equal
from tinybert_jax.errors import UserError
from tinybert_jax.hub import check_fetched, check_push, locate, push
from tinybert_jax.model import load_pretrained

NAME = "ada/tiny"


@pytest.fixture
def fetched(hub_server):
    """`fetched(files)`: names of what comes of a repository that holds these, at `revision`."""

    def fetched(files=("config.json", "model.safetensors"), name=NAME):
        if files:
            hub_server.add(NAME, {file: file.encode() for file in files})
        return {str(path.relative_to(folder)) for folder in [locate(name)] for path in folder.rglob("*")}

    return fetched


def test_a_folder_is_its_own_place(hub_server, tmp_path):
    assert locate(tmp_path) == locate(str(tmp_path)) == tmp_path
    (tmp_path / "model@home").mkdir()
    assert locate(tmp_path / "model@home").name == "model@home"
    assert hub_server.asked == []


@pytest.mark.parametrize(
    "name", ["./model", "/no/such/model", "runs/quickstart/export", "../model", "~/model", "./m@v"]
)
def test_what_is_no_hub_id_is_reported_as_a_missing_folder(hub_server, name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=f"there is no folder '{name}'"):
        locate(name)
    assert hub_server.asked == []


def test_a_file_is_no_model(hub_server, tmp_path):
    (tmp_path / "weights.bin").touch()
    with pytest.raises(UserError, match=r"a model is a folder with a config\.json"):
        locate(tmp_path / "weights.bin")


@pytest.mark.parametrize(
    ("weights", "chosen"),
    [
        (["pytorch_model.bin", "model.safetensors", "flax_model.msgpack", "tf_model.h5"], ["model.safetensors"]),
        (["pytorch_model.bin", "flax_model.msgpack"], ["flax_model.msgpack"]),
        (["pytorch_model.bin"], ["pytorch_model.bin"]),
        (
            [
                "pytorch_model.bin",
                "model.safetensors.index.json",
                "model-1-of-2.safetensors",
                "model-2-of-2.safetensors",
            ],
            ["model.safetensors.index.json", "model-1-of-2.safetensors", "model-2-of-2.safetensors"],
        ),
        (
            ["pytorch_model.bin.index.json", "pytorch_model-1-of-1.bin"],
            ["pytorch_model.bin.index.json", "pytorch_model-1-of-1.bin"],
        ),
    ],
)
def test_one_set_of_weights_is_fetched(fetched, weights, chosen):
    small = ["config.json", "vocab.txt", "README.md"]
    assert fetched([*small, *weights, "training_args.bin", "onnx/model.onnx"]) == {*small, *chosen}


def test_a_model_arrives_whole(hub_server, masked_lm_folder):
    hub_server.add(NAME, masked_lm_folder)
    config, params = load_pretrained(NAME, head="masked-lm")
    expected = load_pretrained(masked_lm_folder, head="masked-lm")
    assert config == expected[0]
    assert equal(params, expected[1])


def test_a_revision_is_a_branch_a_tag_or_a_commit(hub_server):
    first = hub_server.add(NAME, {"config.json": b"1", "model.safetensors": b"1"}).refs["main"]
    repo = hub_server.add(NAME, {"config.json": b"2"})
    repo.refs["v1.0"] = repo.refs["refs/pr/1"] = first
    for revision, content in (("", "2"), ("@main", "2"), ("@v1.0", "1"), ("@refs/pr/1", "1"), (f"@{first}", "1")):
        assert (locate(NAME + revision) / "config.json").read_text() == content, revision
    hub_server.close()
    for revision, content in (("", "2"), ("@v1.0", "1"), (f"@{first}", "1")):
        assert (locate(NAME + revision) / "config.json").read_text() == content, revision


@pytest.mark.parametrize("revision", ["v2", "0" * 40])
def test_a_revision_that_is_not_there_is_named(hub_server, fetched, revision):
    fetched()
    with pytest.raises(UserError, match=rf"'{NAME}@{revision}' is neither .* Revision Not Found") as raised:
        locate(f"{NAME}@{revision}")
    assert "\n" not in str(raised.value)


def test_an_empty_revision_is_refused(hub_server):
    with pytest.raises(
        UserError, match=r"'ada/tiny@': the revision after @ must be a branch, a tag or a commit, got $"
    ):
        locate(f"{NAME}@")
    assert hub_server.asked == []


def test_without_a_connection_the_cache_serves(hub_server, fetched):
    before = fetched(["config.json", "README.md", "model.safetensors", "pytorch_model.bin"])
    hub_server.close()
    assert fetched([]) == before


def test_what_was_fetched_in_part_does_not_serve(hub_server, fetched):
    fetched(["config.json"])
    hub_server.close()
    with pytest.raises(UserError, match="refused"):
        fetched([])


def test_what_neither_hub_nor_cache_has_is_reported_in_a_line(hub_server, fetched):
    fetched()
    with pytest.raises(UserError, match=r"'ada/none' is neither a folder here .* Repository Not Found") as raised:
        locate("ada/none")
    assert "\n" not in str(raised.value)
    hub_server.close()
    message = rf"'ada/bert' is neither a folder here nor a model that {hub_server.url} would give: .*refused"
    with pytest.raises(UserError, match=message) as raised:
        locate("ada/bert")
    assert "\n" not in str(raised.value)


def test_a_private_model_wants_a_token(hub_server, monkeypatch):
    hub_server.add(NAME, {"config.json": b"{}", "model.safetensors": b""}, private=True)
    with pytest.raises(UserError, match="401 Client Error"):
        locate(NAME)
    monkeypatch.setenv("HF_TOKEN", READER)
    assert (locate(NAME) / "config.json").exists()


def test_a_name_the_hub_cannot_have_is_reported(hub_server):
    with pytest.raises(UserError, match=r"'no such model!' is neither a folder here nor .* would give: Repo"):
        locate("no such model!")  # refused by the client before any request
    assert hub_server.asked == []


def test_a_git_lfs_pointer_is_not_the_file(tmp_path):
    pointer = tmp_path / "model.safetensors"
    pointer.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n")
    with pytest.raises(UserError, match=r"model\.safetensors is a Git LFS pointer, not the file: run `git lfs pull`"):
        check_fetched(pointer)
    pointer.write_bytes(b"vers")
    check_fetched(pointer)


@pytest.fixture
def folder(tmp_path):
    """What is to be pushed: small files, a large one, an empty one, one below."""
    path = tmp_path / "export"
    (path / "below").mkdir(parents=True)
    for name, content in {
        "README.md": b"---\nlicense: other\n---\n",
        "model.safetensors": bytes(range(256)) * 9,
        "empty.txt": b"",
        "below/x.json": b"{}",
    }.items():
        (path / name).write_bytes(content)
    return path


def files_of(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("private", [False, True])
def test_what_arrives_is_the_folder_byte_for_byte(hub_server, folder, monkeypatch, private):
    monkeypatch.setenv("HF_TOKEN", WRITER)
    assert push(folder, NAME, private=private) == f"{hub_server.url}/{NAME}"
    repo = hub_server.repos["models", NAME]
    assert repo.private == private
    assert repo.files == {".gitattributes": b"", **files_of(folder)}
    (folder / "below" / "x.json").write_bytes(b"[]")
    push(folder, NAME, private=private)  # again, to what is there now
    assert repo.files == {".gitattributes": b"", **files_of(folder)}


@pytest.mark.parametrize(
    ("token", "name", "message"),
    [
        (None, NAME, r"a push to ada/tiny needs a token: run `hf auth login`, or set HF_TOKEN"),
        (READER, NAME, r"needs a token that may write, and the one in use may only read"),
        ("hf_wrong", NAME, r"cannot push to ada/tiny at http://127\.0\.0\.1:\d+: .*[Ii]nvalid"),
        (WRITER, "bob/tiny", r"must be of an owner the token may write to: ada, got bob/tiny"),
        (WRITER, "tiny", r"what a push goes to must be a hub id, owner/name, got 'tiny'"),
        (WRITER, "ada/ti ny", r"cannot push to ada/ti ny"),
        (WRITER, "ada/tiny@v1", r"cannot push to ada/tiny@v1"),
    ],
)
def test_a_push_that_cannot_go_well_is_refused_before_any_work(hub_server, monkeypatch, token, name, message):
    if token is not None:
        monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(UserError, match=message) as raised:
        check_push(name)
    assert "\n" not in str(raised.value)
    assert hub_server.repos == {}


def test_a_public_repository_is_not_filled_where_a_private_one_is_wanted(hub_server, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", WRITER)
    hub_server.add(NAME, {})
    check_push(NAME)
    with pytest.raises(UserError, match="ada/tiny exists and is public: make it private first, or name another id"):
        check_push(NAME, private=True)
    hub_server.repos["models", NAME].private = True
    check_push(NAME, private=True)


def test_a_push_wants_a_hub_that_can_be_reached(hub_server, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", WRITER)
    hub_server.close()
    with pytest.raises(UserError, match=rf"cannot push to ada/tiny at {hub_server.url}: .*refused"):
        check_push(NAME)


@pytest.mark.parametrize("broken", ["/preupload/", "/lfs/objects/", "/blobs/", "/commit/", "/repos/create"])
def test_a_push_that_fails_leaves_the_folder_and_says_how_to_try_again(hub_server, folder, monkeypatch, broken):
    monkeypatch.setenv("HF_TOKEN", WRITER)
    hub_server.broken, before = broken, files_of(folder)
    with pytest.raises(UserError, match=rf"has failed: .*; {folder} is whole, and `hf upload ada/tiny {folder}` tries"):
        push(folder, NAME)
    assert files_of(folder) == before
    hub_server.broken = None
    push(folder, NAME)
    assert hub_server.repos["models", NAME].files == {".gitattributes": b"", **before}

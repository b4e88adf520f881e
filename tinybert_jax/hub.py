"""Models by name: a folder here, or a snapshot of the hub's, fetched when asked for."""

import hashlib
from pathlib import Path

from tinybert_jax.errors import UserError

SAFETENSORS = "model.safetensors"
SAFETENSORS_INDEX = "model.safetensors.index.json"
ORBAX = "params.orbax"  # what `convert --to orbax` writes beside config.json
MSGPACK = "flax_model.msgpack"
TORCH = "pytorch_model.bin"
TORCH_INDEX = "pytorch_model.bin.index.json"
WEIGHTS = (SAFETENSORS, SAFETENSORS_INDEX, ORBAX, MSGPACK, TORCH, TORCH_INDEX)  # in order of preference
_SHARDS = {SAFETENSORS_INDEX: "model-*.safetensors", TORCH_INDEX: "pytorch_model-*.bin"}
# All that may say how text is tokenised.
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
)
_LFS_POINTER = b"version https://git-lfs.github.com/spec/"


def locate(name_or_path: str | Path) -> Path:
    """The folder of a model: the given one, or the hub's snapshot of that name.

    Raises:
        UserError: no such folder, and no such hub id or no connection to the hub.
    """
    path = Path(name_or_path)
    if path.is_dir():
        return path
    name = str(name_or_path)
    if path.exists() or name.count("/") > 1 or name.startswith((".", "/", "~")):
        raise UserError(f"a model is a folder with a config.json, or a hub id; there is no folder {name!r}")
    try:
        return _fetch(name)
    except Exception as error:  # the hub client's own, or its HTTP library's
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{name!r} is neither a folder here nor a model the hub would give: {reason}") from error


def check_fetched(path: Path) -> None:
    """Refuses what a clone without Git LFS leaves in a large file's place.

    Raises:
        UserError: the file is such a pointer.
    """
    with path.open("rb") as file:
        if file.read(len(_LFS_POINTER)) == _LFS_POINTER:
            raise UserError(f"{path} is a Git LFS pointer, not the file: run `git lfs pull` in its folder")


def weights_digest(name_or_path: str | Path) -> str:
    """A SHA-256 of all files of weights in a model's folder, as they stand.

    Raises:
        UserError: as `locate`.
    """
    folder, digest = locate(name_or_path), hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.suffix not in (".json", ".txt", ".md"):
            digest.update(f"{path.relative_to(folder).as_posix()} {path.stat().st_size} ".encode())
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def _fetch(name: str) -> Path:
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        files = {file.rfilename for file in HfApi().model_info(name).siblings or ()}
    except Exception as error:  # no connection, whatever its name: what an earlier run fetched will do
        try:
            return Path(snapshot_download(name, local_files_only=True))
        except LocalEntryNotFoundError:
            raise error from None
    # A repository often holds the same weights three times over: one file is enough.
    weights = next((file for file in WEIGHTS if file in files), TORCH)
    patterns = ["*.json", "vocab.txt", "merges.txt", _SHARDS.get(weights, weights)]
    return Path(snapshot_download(name, allow_patterns=patterns))

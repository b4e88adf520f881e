"""Models by name: a folder here, or a snapshot of the hub's, fetched when asked for; and folders sent to the hub.

The hub's clients decide where it is (HF_ENDPOINT), where snapshots are kept (HF_HOME) and who asks (HF_TOKEN).
"""

import re
from contextlib import suppress
from pathlib import Path

from tinybert_jax.errors import UserError, check

SAFETENSORS = "model.safetensors"
SAFETENSORS_INDEX = "model.safetensors.index.json"
ORBAX = "params.orbax"  # what `convert --to orbax` writes beside config.json
MSGPACK = "flax_model.msgpack"
TORCH = "pytorch_model.bin"
TORCH_INDEX = "pytorch_model.bin.index.json"
WEIGHTS = (SAFETENSORS, SAFETENSORS_INDEX, ORBAX, MSGPACK, TORCH, TORCH_INDEX)  # in order of preference
_SHARDS = {SAFETENSORS_INDEX: "model-*.safetensors", TORCH_INDEX: "pytorch_model-*.bin"}
_SMALL_FILES = ["*.json", "vocab.txt", "merges.txt", "README.md"]  # the last: a model card, for its licence
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

    Args:
        name_or_path: a folder, or a hub id, "owner/name" or "owner/name@revision", a branch, tag or commit of it.

    Raises:
        UserError: no such folder, and no such hub id or no connection to the hub.
    """
    path = Path(name_or_path)
    if path.is_dir():
        return path
    given = str(name_or_path)
    name, at, revision = given.partition("@")
    if path.exists() or name.count("/") > 1 or name.startswith((".", "/", "~")):
        raise UserError(f"a model is a folder with a config.json, or a hub id; there is no folder {given!r}")
    check(f"{given!r}: the revision after @", revision, not at or bool(revision), "a branch, a tag or a commit")
    from huggingface_hub import constants

    try:
        return _fetch(name, revision or None)
    except Exception as error:  # the hub client's own, or its HTTP library's
        hub = f"a model that {constants.ENDPOINT} would give"
        raise UserError(f"{given!r} is neither a folder here nor {hub}: {why(error)}") from error


def hub_id(name: str) -> str | None:
    """The "owner/name" of a hub id, with or without "@revision"; None for anything else, as a local path."""
    found = name.partition("@")[0]
    return found if re.fullmatch(r"\w[\w.-]*/[\w.-]+", found, re.ASCII) and not Path(name).exists() else None


def why(error: Exception) -> str:
    """What an error of the hub's clients says, in one line."""
    return " ".join(str(error).split()) or type(error).__name__


def check_push(name: str, private: bool = False) -> None:
    """Checks, before long work is begun, that a push may go well; nothing is written.

    Args:
        name: where to, "owner/name".
        private: as in `push`.

    Raises:
        UserError: no such name can be, no token, or one that must not write there, no connection, or a public
            repository has the name and a private one is wanted.
    """
    from huggingface_hub import HfApi, constants
    from huggingface_hub.errors import LocalTokenNotFoundError, RepositoryNotFoundError

    owner, _, rest = name.partition("/")
    check("what a push goes to", repr(name), bool(owner and rest), "a hub id, owner/name")
    api = HfApi()
    is_public = False
    try:
        user = api.whoami()
        with suppress(RepositoryNotFoundError):  # then it will be created
            is_public = not api.model_info(name).private
    except LocalTokenNotFoundError as error:
        raise UserError(f"a push to {name} needs a token: run `hf auth login`, or set HF_TOKEN") from error
    except Exception as error:  # the client's own, or its HTTP library's
        raise UserError(f"cannot push to {name} at {constants.ENDPOINT}: {why(error)}") from error
    if user.get("auth", {}).get("accessToken", {}).get("role") == "read":
        raise UserError(f"a push to {name} needs a token that may write, and the one in use may only read")
    owners = [user["name"], *(organisation["name"] for organisation in user.get("orgs", ()))]
    check("what a push goes to", name, owner in owners, f"of an owner the token may write to: {', '.join(owners)}")
    if private and is_public:
        raise UserError(f"{name} exists and is public: make it private first, or name another id")


def push(folder: Path, name: str, *, private: bool = False) -> str:
    """Sends all files of a folder to the hub, byte for byte, and returns the address of the model there.

    What a repository of that name held before stays in its history; files of other names stay as they are.

    Args:
        folder: a model's, with its card.
        name: "owner/name"; made where there is none.
        private: only its owner sees it. A repository that is there keeps the visibility that it has.

    Raises:
        UserError: as `check_push`; or the hub has not taken it. The folder is left as it is.
    """
    from huggingface_hub import HfApi

    check_push(name, private)
    api = HfApi()
    try:
        url = str(api.create_repo(name, private=private or None, exist_ok=True))
        api.upload_folder(repo_id=name, folder_path=folder, commit_message="Upload by tinybert_jax")
    except Exception as error:  # the client's own, or its HTTP library's
        again = f"{folder} is whole, and `hf upload {name} {folder}` tries again"
        raise UserError(f"the push to {name} has failed: {why(error)}; {again}") from error
    return url


def check_fetched(path: Path) -> None:
    """Refuses what a clone without Git LFS leaves in a large file's place.

    Raises:
        UserError: the file is such a pointer.
    """
    with path.open("rb") as file:
        if file.read(len(_LFS_POINTER)) == _LFS_POINTER:
            raise UserError(f"{path} is a Git LFS pointer, not the file: run `git lfs pull` in its folder")


def _fetch(name: str, revision: str | None) -> Path:
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        files = {file.rfilename for file in HfApi().model_info(name, revision=revision).siblings or ()}
    except Exception as error:  # no connection, whatever its name: what an earlier run fetched will do
        try:
            # Of the repository a part was fetched, which the client gives out only where no more is asked for.
            kept = Path(snapshot_download(name, revision=revision, local_files_only=True, allow_patterns="config.json"))
        except LocalEntryNotFoundError:
            raise error from None
        if not any((kept / weights).exists() for weights in WEIGHTS):
            raise
        return kept
    # A repository often holds the same weights three times over: one file is enough.
    weights = next((file for file in WEIGHTS if file in files), TORCH)
    patterns = [*_SMALL_FILES, _SHARDS.get(weights, weights)]
    return Path(snapshot_download(name, revision=revision, allow_patterns=patterns))

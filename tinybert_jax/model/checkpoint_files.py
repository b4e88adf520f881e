"""How each format of weights is read, and orbax written. Nothing is ever unpickled without torch's safe loader."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax.traverse_util import flatten_dict

from tinybert_jax.errors import UserError
from tinybert_jax.hub import MSGPACK, ORBAX, SAFETENSORS, SAFETENSORS_INDEX, TORCH, TORCH_INDEX, WEIGHTS, check_fetched
from tinybert_jax.store.files import read_json

Tensors = Iterator[tuple[str, np.ndarray]]
Reader = Callable[[Path], Tensors]
_TENSORFLOW = "tf_model.h5"  # which nothing here reads


def read_tensors(folder: Path) -> Tensors:
    """All tensors of the first known weights file in `folder`, with their names there.

    Raises:
        UserError: no weights file, a shard is missing, a file cannot be read as what its name says, or a Git LFS
            pointer is in its place.
    """
    present = next((name for name in WEIGHTS if (folder / name).exists()), None)
    if present is None:
        hint = f"; {_TENSORFLOW} is TensorFlow's: save it in PyTorch first" if (folder / _TENSORFLOW).exists() else ""
        raise UserError(f"{folder} holds no weights: one of {', '.join(WEIGHTS)} is needed{hint}")
    with _reading(folder / present):
        yield from READERS[present](folder / present)


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turns any exception of a reader into one error that names the file. A Git LFS pointer is refused unread."""
    if path.is_file():
        check_fetched(path)
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # every reader has its own exceptions; to the user they are one: a bad file
        raise UserError(f"cannot read the weights in {path}: {type(error).__name__}: {error}") from error


def _read_shards(read: Reader, index: Path) -> Tensors:
    for name in sorted(set(read_json(index)["weight_map"].values())):
        if not re.fullmatch(r"[^/\\]+", name) or name == "..":
            raise UserError(f"{index} must name its shards as files beside it, got {name!r}")
        shard = index.parent / name
        if not shard.is_file():
            raise UserError(f"the index names a shard that is not there: {shard}")
        _check_stays(shard)
        with _reading(shard):
            yield from read(shard)


def _check_stays(shard: Path) -> None:
    """A shard may be a link to another file of its folder, or into the hub's cache; what else an index could reach."""
    folder, file = shard.parent.resolve(), shard.resolve()
    # CACHE/models--OWNER--NAME/snapshots/REVISION/SHARD is a link to CACHE/models--OWNER--NAME/blobs/DIGEST
    blobs = folder.parents[1] / "blobs" if folder.parent.name == "snapshots" else folder
    if file.parent not in (folder, blobs):
        raise UserError(f"{shard} must be a file of its folder, got a link to {file}: put the file itself there")


def _read_safetensors(path: Path) -> Tensors:
    from safetensors import safe_open

    with safe_open(path, framework="numpy") as file:
        for name in file.keys():  # noqa: SIM118  (not a dict)
            yield name, file.get_tensor(name)


def _read_torch(path: Path) -> Tensors:
    try:
        import torch
    except ImportError as error:
        raise UserError(
            f"{path} is a PyTorch pickle, read through torch's safe loader: pip install 'tinybert-jax[torch]'"
        ) from error
    content = torch.load(path, map_location="cpu", weights_only=True)
    for name, tensor in content.get("state_dict", content).items():  # some trainers put more beside the weights
        if not isinstance(tensor, torch.Tensor):
            raise UserError(f"{path} must hold only tensors, got {name!r}, a {type(tensor).__name__}")
        stored = tensor.detach()
        if stored.is_quantized:  # as whole numbers, which are refused by name
            stored = stored.int_repr()
        yield name, (stored.float() if stored.dtype == torch.bfloat16 else stored).numpy()


def _read_msgpack(path: Path) -> Tensors:
    from flax.serialization import msgpack_restore

    yield from _named(msgpack_restore(path.read_bytes()))


def _read_orbax(path: Path) -> Tensors:
    import orbax.checkpoint as ocp

    with ocp.PyTreeCheckpointer() as checkpointer:
        tree = checkpointer.metadata(path.absolute()).item_metadata.tree
        # as numpy, because the devices that saved it may not be here
        arguments = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), tree)
        yield from _named(checkpointer.restore(path.absolute(), restore_args=arguments))


def _named(params: Any) -> Tensors:
    """A Flax tree as dotted names; ours differ from transformers' only in the last word."""
    for path, leaf in flatten_dict(params).items():
        yield ".".join(path), np.asarray(leaf)


# A format of weights is one name in hub.WEIGHTS, and one reader here.
READERS: dict[str, Reader] = {
    SAFETENSORS: _read_safetensors,
    SAFETENSORS_INDEX: partial(_read_shards, _read_safetensors),
    ORBAX: _read_orbax,
    MSGPACK: _read_msgpack,
    TORCH: _read_torch,
    TORCH_INDEX: partial(_read_shards, _read_torch),
}


def write_orbax(folder: Path, params: Any) -> None:
    """Writes a parameter tree as `folder`/params.orbax, which `read_tensors` reads."""
    import orbax.checkpoint as ocp

    with ocp.PyTreeCheckpointer() as checkpointer:
        checkpointer.save((folder / ORBAX).absolute(), params)

"""A model by name, with all that answering needs: its network, its tokenizer and its own settings."""

import dataclasses
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tinybert_jax.data import Dataset, Example, build_windows, load_tokenizer
from tinybert_jax.data.tokenizer import check_ids_fit
from tinybert_jax.errors import UserError, check
from tinybert_jax.hub import WEIGHTS, locate
from tinybert_jax.inference.network import JaxNetwork, Network
from tinybert_jax.inference.onnx_network import FILES, OnnxNetwork
from tinybert_jax.inference.settings import QASettings, load_settings
from tinybert_jax.model import load_qa_model
from tinybert_jax.model.config import Dtype
from tinybert_jax.store.digests import file_digest
from tinybert_jax.store.files import read_json

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


class Loaded(NamedTuple):
    """A model ready to answer; its windows fit its position table."""

    network: Network
    tokenizer: "PreTrainedTokenizerFast"
    settings: QASettings

    def dataset(self, examples: Sequence[Example]) -> Dataset:
        """Questions, cut into the model's own windows."""
        return Dataset(examples, build_windows(examples, self.tokenizer, self.settings.windows))


class Place(NamedTuple):
    """Where a model's files are.

    Attributes:
        folder: of its config, tokenizer and settings.
        weights: the file or orbax folder of its weights, relative to the folder; None where there is none.
    """

    folder: Path
    weights: str | None

    @property
    def is_exported(self) -> bool:
        """Whether onnxruntime runs it."""
        return self.weights is not None and self.weights.endswith(".onnx")


def find(name_or_path: str | Path) -> Place:
    """Finds a model's files, and fetches them where they are the hub's; nothing is read.

    Args:
        name_or_path: as in `load`.

    Raises:
        UserError: as `locate`.
    """
    path = Path(name_or_path)
    if path.suffix == ".onnx" and path.is_file():
        parent = path.absolute().parent
        folder = parent.parent if parent.name == "onnx" else parent
        return Place(folder, path.absolute().relative_to(folder).as_posix())
    folder = locate(name_or_path)
    return Place(folder, next((name for name in (*WEIGHTS, *FILES) if (folder / name).exists()), None))


def weights_files(name_or_path: str | Path) -> list[Path]:
    """The files that a model's weights are in, in a fixed order.

    Raises:
        UserError: as `find`, there are none, or an index of shards is no JSON.
    """
    folder, weights = find(name_or_path)
    if weights is None:
        raise UserError(f"{folder} holds no weights: one of {', '.join((*WEIGHTS, *FILES))} is needed")
    path = folder / weights
    if path.is_dir():
        return sorted(file for file in path.rglob("*") if file.is_file())
    if weights.endswith(".index.json"):
        return [path, *(folder / name for name in sorted(set(read_json(path)["weight_map"].values())))]
    return [path]


def weights_digest(name_or_path: str | Path) -> str:
    """A SHA-256 of a model's weights, as their files stand; of a single file it is the file's.

    Raises:
        UserError: as `weights_files`.
    """
    files = weights_files(name_or_path)
    digests = [file_digest(path) for path in files]
    if len(files) == 1:
        return digests[0]
    return hashlib.sha256(repr(list(zip([file.name for file in files], digests, strict=True))).encode()).hexdigest()


def load(name_or_path: str | Path, dtype: Dtype = "float32", *, allow_non_finite: bool = False) -> Loaded:
    """Loads a question-answering model to where it runs: the devices, or onnxruntime on the CPU.

    Args:
        name_or_path: a hub id, "owner/name" or "owner/name@revision", or a folder; also one of `tinybert export --to
            onnx`, or one of the .onnx files in it.
        dtype: what matrix products compute in; an exported network has its own.
        allow_non_finite: as in `load_pretrained`; nothing looks at an exported network's weights.

    Raises:
        UserError: as `load_qa_model`, `OnnxNetwork.load`, `load_tokenizer` or `load_settings`; or a token has no
            embedding.
    """
    place = find(name_or_path)
    settings, tokenizer = load_settings(place.folder), load_tokenizer(place.folder)
    if place.is_exported:
        check("dtype", f"{dtype} for {name_or_path}", dtype == "float32", "float32 for an exported network")
        network: Network = OnnxNetwork.load(place.folder, place.weights)
    else:
        model = load_qa_model(str(name_or_path), allow_non_finite=allow_non_finite)
        network = JaxNetwork(model._replace(config=dataclasses.replace(model.config, dtype=dtype)))
    check_ids_fit(str(name_or_path), tokenizer, network.config.vocab_size)
    fitted = dataclasses.replace(settings, windows=settings.windows.fitted(network.config.max_positions))
    return Loaded(network, tokenizer, fitted)

"""A model by name, with all that answering needs: its network, its tokenizer and its own settings."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tinybert_jax.data import load_tokenizer
from tinybert_jax.data.tokenizer import check_ids_fit
from tinybert_jax.errors import check
from tinybert_jax.hub import WEIGHTS, locate
from tinybert_jax.inference.network import JaxNetwork, Network
from tinybert_jax.inference.onnx_network import OnnxNetwork
from tinybert_jax.inference.settings import QASettings, load_settings
from tinybert_jax.model import load_qa_model
from tinybert_jax.model.config import Dtype

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


class Loaded(NamedTuple):
    """A model ready to answer; its windows fit its position table."""

    network: Network
    tokenizer: "PreTrainedTokenizerFast"
    settings: QASettings


def load(name_or_path: str | Path, dtype: Dtype = "float32") -> Loaded:
    """Loads a question-answering model to where it runs: the devices, or onnxruntime on the CPU.

    Args:
        name_or_path: a hub id, "owner/name" or "owner/name@revision", or a folder; also one of `tinybert export --to
            onnx`, or one of the .onnx files in it.
        dtype: what matrix products compute in; an exported network has its own.

    Raises:
        UserError: as `load_qa_model`, `OnnxNetwork.load`, `load_tokenizer` or `load_settings`; or a token has no
            embedding.
    """
    path = Path(name_or_path)
    is_file = path.suffix == ".onnx" and path.is_file()
    folder = path.absolute().parent if is_file else locate(name_or_path)
    if is_file and folder.name == "onnx":
        folder = folder.parent
    settings, tokenizer = load_settings(folder), load_tokenizer(folder)
    if is_file or (not any((folder / name).exists() for name in WEIGHTS) and OnnxNetwork.is_in(folder)):
        check("dtype", f"{dtype} for {name_or_path}", dtype == "float32", "float32 for an exported network")
        network: Network = OnnxNetwork.load(folder, path.absolute().relative_to(folder).as_posix() if is_file else None)
    else:
        model = load_qa_model(str(name_or_path))
        network = JaxNetwork(model._replace(config=dataclasses.replace(model.config, dtype=dtype)))
    check_ids_fit(str(name_or_path), tokenizer, network.config.vocab_size)
    fitted = dataclasses.replace(settings, windows=settings.windows.fitted(network.config.max_positions))
    return Loaded(network, tokenizer, fitted)

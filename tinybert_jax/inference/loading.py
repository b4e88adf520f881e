"""A model by name, with all that answering needs: its network, its tokenizer and its own settings."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tinybert_jax.data import load_tokenizer
from tinybert_jax.data.tokenizer import check_ids_fit
from tinybert_jax.inference.network import JaxNetwork, Network
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
    """Loads a question-answering model onto the devices.

    Args:
        name_or_path: a folder or a hub id.
        dtype: what matrix products compute in.

    Raises:
        UserError: as `load_qa_model`, `load_tokenizer` or `load_settings`; or a token has no embedding.
    """
    settings = load_settings(name_or_path)
    model = load_qa_model(str(name_or_path))
    tokenizer = load_tokenizer(name_or_path)
    check_ids_fit(str(name_or_path), tokenizer, model.config.vocab_size)
    network = JaxNetwork(model._replace(config=dataclasses.replace(model.config, dtype=dtype)))
    fitted = dataclasses.replace(settings, windows=settings.windows.fitted(network.config.max_positions))
    return Loaded(network, tokenizer, fitted)

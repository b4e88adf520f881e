"""TinyBERT distillation of question-answering models, in pure JAX."""

import importlib
from typing import TYPE_CHECKING, Any

from tinybert_jax.errors import UserError

if TYPE_CHECKING:
    __version__: str
    from tinybert_jax.model import BertConfig, BertForQuestionAnswering, forward, load_pretrained, save_pretrained

__all__ = [
    "BertConfig",
    "BertForQuestionAnswering",
    "UserError",
    "forward",
    "load_pretrained",
    "save_pretrained",
]


def __getattr__(name: str) -> Any:
    """Imports JAX and the networks when they are first asked for: `tinybert --help` does without."""
    if name == "__version__":
        return importlib.import_module("importlib.metadata").version("tinybert-jax")
    if name not in (*__all__, "model"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    model = importlib.import_module("tinybert_jax.model")
    return model if name == "model" else getattr(model, name)

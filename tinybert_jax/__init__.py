"""TinyBERT distillation of question-answering models, in pure JAX."""

from tinybert_jax.errors import UserError
from tinybert_jax.model import BertConfig, BertForQuestionAnswering, forward, load_pretrained, save_pretrained

__all__ = [
    "BertConfig",
    "BertForQuestionAnswering",
    "UserError",
    "forward",
    "load_pretrained",
    "save_pretrained",
]

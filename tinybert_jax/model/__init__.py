"""The networks and their weights."""

from tinybert_jax.model.bert import (
    BertForMaskedLM,
    BertForQuestionAnswering,
    Outputs,
    forward,
    init_params,
    masked_logits,
)
from tinybert_jax.model.config import BertConfig
from tinybert_jax.model.ops.frozen import freeze
from tinybert_jax.model.ops.platform import Platform
from tinybert_jax.model.pretrained import Model, load_pretrained, load_qa_model, save_pretrained

__all__ = [
    "BertConfig",
    "BertForMaskedLM",
    "BertForQuestionAnswering",
    "Model",
    "Outputs",
    "Platform",
    "forward",
    "freeze",
    "init_params",
    "load_pretrained",
    "load_qa_model",
    "masked_logits",
    "save_pretrained",
]

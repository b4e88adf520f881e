"""The networks and their weights."""

from tinybert_jax.model.bert import BertForQuestionAnswering, Outputs, forward, init_params
from tinybert_jax.model.config import BertConfig
from tinybert_jax.model.cut import cut_student, layers_of, trim_vocabulary
from tinybert_jax.model.masked_lm import BertForMaskedLM, masked_logits
from tinybert_jax.model.narrow import narrow_student
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
    "cut_student",
    "forward",
    "freeze",
    "init_params",
    "layers_of",
    "load_pretrained",
    "load_qa_model",
    "masked_logits",
    "narrow_student",
    "save_pretrained",
    "trim_vocabulary",
]

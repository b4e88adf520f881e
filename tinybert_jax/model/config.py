"""The shape of a BERT or a RoBERTa."""

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from tinybert_jax.errors import UserError, check, check_least
from tinybert_jax.model.config_keys import PLAIN, WITHOUT_EFFECT
from tinybert_jax.model.ops.attention import AttentionKernel

Activation = Literal[
    "gelu",
    "gelu_new",
    "relu",
    "gelu_python",
    "gelu_fast",
    "gelu_pytorch_tanh",
    "quick_gelu",
    "silu",
]
Dtype = Literal["float32", "bfloat16"]
ModelType = Literal["bert", "roberta"]

_NAMES = {"model_type": ModelType, "hidden_act": Activation, "dtype": Dtype, "attention_kernel": AttentionKernel}
# Not transformers': its config.json has no such field, or means something else by it.
_OURS = {"dtype", "attention_kernel"}
# Where transformers' RobertaConfig has other defaults than its BertConfig.
_ROBERTA_DEFAULTS: dict[str, Any] = {"vocab_size": 50265, "pad_token_id": 1}
# Written for transformers' sake; the networks here do not read them. The ids of every RoBERTa vocabulary.
_ROBERTA_TOKENS = {"bos_token_id": 0, "eos_token_id": 2}
_SIZES = (
    "vocab_size",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
    "max_position_embeddings",
    "type_vocab_size",
)


@dataclass(frozen=True)
class BertConfig:
    """Architecture of a BERT or RoBERTa encoder; field names are those of transformers' `config.json`, defaults BERT's.

    Attributes:
        model_type: the family. They differ in how positions and segments are embedded, and in tensors' names on disk.
        pad_token_id: the token read where the attention mask is False; its embedding is never trained.
        dtype: what matrix products compute in. Parameters, softmax, LayerNorm and losses stay float32.
        attention_kernel: how attention is computed, see `attention.choose_kernel`; no result depends on it.

    Raises:
        UserError: a size, a rate or a name is out of range.
    """

    vocab_size: int = 30522
    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    hidden_act: Activation = "gelu"
    max_position_embeddings: int = 512
    type_vocab_size: int = 2
    hidden_dropout_prob: float = 0.1
    attention_probs_dropout_prob: float = 0.1
    layer_norm_eps: float = 1e-12
    initializer_range: float = 0.02
    pad_token_id: int = 0
    model_type: ModelType = "bert"
    dtype: Dtype = "float32"
    attention_kernel: AttentionKernel = "auto"

    def __post_init__(self) -> None:
        for field, allowed in _NAMES.items():
            names, value = get_args(allowed), getattr(self, field)
            check(field, repr(value), value in names, f"one of {', '.join(names)}")
        for field in (*_SIZES, "pad_token_id"):
            value = getattr(self, field)
            check(field, repr(value), type(value) is int, "a whole number")
        for field in ("hidden_dropout_prob", "attention_probs_dropout_prob", "layer_norm_eps", "initializer_range"):
            value = getattr(self, field)
            check(field, repr(value), type(value) in (int, float) and math.isfinite(value), "a finite number")
        check_least(self, **dict.fromkeys(_SIZES, 1), initializer_range=0)
        check("layer_norm_eps", self.layer_norm_eps, self.layer_norm_eps > 0, "over 0")
        if self.hidden_size % self.num_attention_heads:
            raise UserError(
                f"num_attention_heads must divide hidden_size, got {self.num_attention_heads} heads "
                f"for {self.hidden_size} units"
            )
        for field in ("hidden_dropout_prob", "attention_probs_dropout_prob"):
            rate = getattr(self, field)
            check(field, rate, 0 <= rate < 1, "in [0, 1)")
        pad = self.pad_token_id
        check("pad_token_id", pad, 0 <= pad < self.vocab_size, f"in [0, vocab_size = {self.vocab_size})")
        rule = f"over pad_token_id + 1 = {pad + 1} in a RoBERTa"
        check("max_position_embeddings", self.max_position_embeddings, self.max_positions >= 1, rule)

    @property
    def head_size(self) -> int:
        """Width of one attention head, H."""
        return self.hidden_size // self.num_attention_heads

    @property
    def max_positions(self) -> int:
        """The longest row, in tokens. RoBERTa's position table has `pad_token_id + 1` rows that no token uses."""
        unused = self.pad_token_id + 1 if self.model_type == "roberta" else 0
        return self.max_position_embeddings - unused

    @classmethod
    def from_transformers(cls, config: Mapping[str, Any]) -> "BertConfig":
        """Reads the content of a transformers `config.json`.

        A missing `model_type` is taken as BERT and keys without effect here are passed over: TinyBERT's released
        checkpoints need both. `dtype` is not read: theirs names the stored precision.

        Raises:
            UserError: another architecture, a key that makes another network of it, or a value out of range.
        """
        kind = config.get("model_type", "bert")
        got = f"{kind!r}: only their checkpoints can be loaded"
        check("model_type", got, kind in get_args(ModelType), '"bert" or "roberta"')
        for key, plain in PLAIN.items():
            value = config.get(key)
            as_is = value is None or value == plain
            check(key, f"{value!r}: only plain encoders can be loaded", as_is, json.dumps(plain))
        known = {field.name for field in dataclasses.fields(cls)} - _OURS
        given = {key: value for key, value in config.items() if key in known and value is not None}
        return cls(**(_ROBERTA_DEFAULTS if kind == "roberta" else {}) | given)

    @classmethod
    def unknown_keys(cls, config: Mapping[str, Any]) -> list[str]:
        """The keys of a transformers `config.json` of which `from_transformers` cannot say what they change."""
        known = {field.name for field in dataclasses.fields(cls)}
        return sorted(config.keys() - known - PLAIN.keys() - WITHOUT_EFFECT)

    def to_transformers(self, kind: str = "ForQuestionAnswering") -> dict[str, Any]:
        """The content of a `config.json` for transformers' class of that kind, `BertFor…` or `RobertaModel`."""
        fields = {name: value for name, value in dataclasses.asdict(self).items() if name not in _OURS}
        fields["dtype"] = "float32"  # the precision the parameters are stored in
        tokens = _ROBERTA_TOKENS if self.model_type == "roberta" else {}
        return {"architectures": [f"{self.model_type.capitalize()}{kind}"], **fields, **tokens}

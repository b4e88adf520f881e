"""The shape of an encoder: a BERT, or one of its relatives."""

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from tinybert_jax.errors import UserError, check, check_least, check_numbers
from tinybert_jax.model.config_keys import PLAIN, WITHOUT_EFFECT
from tinybert_jax.model.families import FAMILIES, Family
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
ModelType = Literal["bert", "roberta", "xlm-roberta", "camembert", "distilbert", "electra"]

_NAMES = {"model_type": ModelType, "hidden_act": Activation, "dtype": Dtype, "attention_kernel": AttentionKernel}
# Not transformers': its config.json has no such field, or means something else by it.
_OURS = {"dtype", "attention_kernel"}
_SIZES = {
    "vocab_size",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
    "max_position_embeddings",
    "type_vocab_size",
    "embedding_size",
}
_MOST_LAYERS = 1000  # tracing more takes minutes, before anything could be compared with the weights
_RATES = ("hidden_dropout_prob", "attention_probs_dropout_prob")


@dataclass(frozen=True)
class BertConfig:
    """Architecture of an encoder; field names are those of BERT's `config.json` in transformers, defaults BERT's.

    Attributes:
        type_vocab_size: kinds of segments; 0 in a DistilBERT, which does not tell them apart.
        pad_token_id: the token read where the attention mask is False; its embedding is never trained.
        embedding_size: width of the embeddings' tables where it is not `hidden_size`; only an ELECTRA can have one.
        model_type: the family. They differ in how tokens are embedded, and in tensors' names on disk.
        dtype: what matrix products compute in. Parameters, softmax, LayerNorm and losses stay float32.
        attention_kernel: how attention is computed, see `attention.choose_kernel`; no result depends on it.

    Raises:
        UserError: a size, a rate or a name is out of range, or not one that the family can have.
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
    embedding_size: int | None = None
    model_type: ModelType = "bert"
    dtype: Dtype = "float32"
    attention_kernel: AttentionKernel = "auto"

    def __post_init__(self) -> None:
        for field, allowed in _NAMES.items():
            names, value = get_args(allowed), getattr(self, field)
            check(field, repr(value), value in names, f"one of {', '.join(names)}")
        fixed = self.family.fixed
        for field, only in fixed.items():
            value = getattr(self, field)
            check(field, repr(value), value == only, f"{only} in the family {self.family.title}")
        sizes = _SIZES - fixed.keys() - ({"embedding_size"} if self.embedding_size is None else set())
        for field in sorted({*sizes, "pad_token_id"}):
            value = getattr(self, field)
            check(field, repr(value), type(value) is int, "a whole number")
        for field in (*_RATES, "layer_norm_eps", "initializer_range"):
            value = getattr(self, field)
            check(field, repr(value), type(value) in (int, float) and math.isfinite(value), "a finite number")
        check_numbers(self)
        check_least(self, **dict.fromkeys(sorted(sizes), 1), initializer_range=0)
        self._check_values()

    def _check_values(self) -> None:
        layers = self.num_hidden_layers
        check("num_hidden_layers", layers, layers <= _MOST_LAYERS, f"at most {_MOST_LAYERS}")
        check("layer_norm_eps", self.layer_norm_eps, self.layer_norm_eps > 0, "over 0")
        if self.hidden_size % self.num_attention_heads:
            raise UserError(
                f"num_attention_heads must divide hidden_size, got {self.num_attention_heads} heads "
                f"for {self.hidden_size} units"
            )
        for field in _RATES:
            rate = getattr(self, field)
            check(field, rate, 0 <= rate < 1, "in [0, 1)")
        width = self.embedding_size
        rule = f"other than hidden_size = {self.hidden_size}: between equal widths transformers has no projection"
        check("embedding_size", width, width != self.hidden_size, rule)
        pad = self.pad_token_id
        check("pad_token_id", pad, 0 <= pad < self.vocab_size, f"in [0, vocab_size = {self.vocab_size})")
        rule = f"over pad_token_id + 1 = {pad + 1} in the family {self.family.title}"
        check("max_position_embeddings", self.max_position_embeddings, self.max_positions >= 1, rule)

    @property
    def family(self) -> Family:
        """What the family has of its own in `config.json` and in its embeddings."""
        return FAMILIES[self.model_type]

    @property
    def head_size(self) -> int:
        """Width of one attention head, H."""
        return self.hidden_size // self.num_attention_heads

    @property
    def embedding_width(self) -> int:
        """Width of the embeddings' tables."""
        return self.embedding_size or self.hidden_size

    @property
    def max_positions(self) -> int:
        """The longest row, in tokens. RoBERTa's position table has `pad_token_id + 1` rows that no token uses."""
        unused = self.pad_token_id + 1 if self.family.counts_after_padding else 0
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
        check("model_type", got, kind in get_args(ModelType), f"one of {', '.join(FAMILIES)}")
        for key, plain in PLAIN.items():
            value = config.get(key)
            as_is = value is None or value == plain
            check(key, f"{value!r}: only plain encoders can be loaded", as_is, json.dumps(plain))
        family = FAMILIES[kind]
        read = {family.keys.get(key, key): value for key, value in config.items() if value is not None}
        held = {field: read[field] for field in _fields_of(family) if field in read}
        given: dict[str, Any] = {**family.defaults, **held, **family.fixed}
        if given["embedding_size"] == given.get("hidden_size"):
            given["embedding_size"] = None
        return cls(**given)

    @classmethod
    def unknown_keys(cls, config: Mapping[str, Any]) -> list[str]:
        """The keys of a `config.json` that can be held of which `from_transformers` cannot say what they change."""
        family = FAMILIES[config.get("model_type", "bert")]
        known = {"dtype", *_fields_of(family), *family.keys}
        return sorted(config.keys() - known - PLAIN.keys() - WITHOUT_EFFECT)

    def to_transformers(self, kind: str = "ForQuestionAnswering") -> dict[str, Any]:
        """The content of a `config.json` for transformers' class of that kind, `BertFor…` or `RobertaModel`."""
        theirs = {field: key for key, field in self.family.keys.items()}
        fields = {theirs.get(field, field): getattr(self, field) for field in _fields_of(self.family)}
        if "embedding_size" in fields:
            fields["embedding_size"] = self.embedding_width
        fields["dtype"] = "float32"  # the precision the parameters are stored in
        return {"architectures": [f"{self.family.classes}{kind}"], **fields, **self.family.tokens}


def _fields_of(family: Family) -> list[str]:
    """The fields that a family's `config.json` has, under whatever key."""
    return [field.name for field in dataclasses.fields(BertConfig) if field.name not in {*_OURS, *family.fixed}]

"""What each family of encoders has of its own: one entry a family, and all of it data.

Our tree and `BertConfig` keep BERT's names for every family. An entry says what transformers' files call the same
things, from which both directions are derived (`names.py` for tensors, `config.py` for `config.json`), and the few
ways in which a family's network is another one than BERT's.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

_ELSEWHERE = r"(\w+\.)?pooler\..+|classifier\..+|lm_head\..+"


@dataclass(frozen=True)
class Family:
    """One encoder family.

    Attributes:
        title: its name, for people.
        classes: what the names of transformers' classes begin with.
        modules: our modules that the family names otherwise, as dotted paths with "*" for a layer's number. The
            longest that begins a path decides; what is listed nowhere keeps its name.
        elsewhere: a pattern of what other classes keep in the same file: no parameter of ours.
        keys: the family's own keys of `config.json`, each with the field of `BertConfig` that it is.
        defaults: fields whose default in transformers is not that of `BertConfig`.
        fixed: fields that its `config.json` does not have, with the one value that they can take.
        tokens: written for transformers' sake, as every vocabulary of the family has them; no network reads them.
        segments: whether the segments of question and context are read.
        counts_after_padding: positions count the real tokens, from `pad_token_id + 1`, padding's own being
            `pad_token_id`; in other families they count all tokens, from 0.
        attention_output_dropout: whether dropout acts on what attention's own projection gives.
    """

    title: str
    classes: str
    modules: Mapping[str, str] = field(default_factory=dict)
    elsewhere: str = _ELSEWHERE
    keys: Mapping[str, str] = field(default_factory=dict)
    defaults: Mapping[str, Any] = field(default_factory=dict)
    fixed: Mapping[str, Any] = field(default_factory=lambda: {"embedding_size": None})
    tokens: Mapping[str, int] = field(default_factory=dict)
    segments: bool = True
    counts_after_padding: bool = False
    attention_output_dropout: bool = True


_ROBERTA = Family(
    "RoBERTa",
    "Roberta",
    modules={"bert": "roberta"},
    defaults={"pad_token_id": 1},
    tokens={"bos_token_id": 0, "eos_token_id": 2},
    segments=False,
    counts_after_padding=True,
)

FAMILIES = {
    "bert": Family(
        "BERT",
        "Bert",
        elsewhere=rf"{_ELSEWHERE}|fit_dense(s\.\d+)?\..+|cls\.seq_relationship\..+",
    ),
    "roberta": replace(_ROBERTA, defaults={"vocab_size": 50265, "pad_token_id": 1}),
    "xlm-roberta": replace(_ROBERTA, title="XLM-RoBERTa", classes="XLMRoberta"),
    "camembert": replace(
        _ROBERTA, title="CamemBERT", classes="Camembert", tokens={"bos_token_id": 5, "eos_token_id": 6}
    ),
    "distilbert": Family(
        "DistilBERT",
        "DistilBert",
        modules={
            "bert": "distilbert",
            "bert.encoder.layer.*": "distilbert.transformer.layer.*",
            "bert.encoder.layer.*.attention.self.query": "distilbert.transformer.layer.*.attention.q_lin",
            "bert.encoder.layer.*.attention.self.key": "distilbert.transformer.layer.*.attention.k_lin",
            "bert.encoder.layer.*.attention.self.value": "distilbert.transformer.layer.*.attention.v_lin",
            "bert.encoder.layer.*.attention.output.dense": "distilbert.transformer.layer.*.attention.out_lin",
            "bert.encoder.layer.*.attention.output.LayerNorm": "distilbert.transformer.layer.*.sa_layer_norm",
            "bert.encoder.layer.*.intermediate.dense": "distilbert.transformer.layer.*.ffn.lin1",
            "bert.encoder.layer.*.output.dense": "distilbert.transformer.layer.*.ffn.lin2",
            "bert.encoder.layer.*.output.LayerNorm": "distilbert.transformer.layer.*.output_layer_norm",
        },
        elsewhere=rf"{_ELSEWHERE}|pre_classifier\..+|vocab_(transform|layer_norm|projector)\..+",
        keys={
            "dim": "hidden_size",
            "n_layers": "num_hidden_layers",
            "n_heads": "num_attention_heads",
            "hidden_dim": "intermediate_size",
            "activation": "hidden_act",
            "dropout": "hidden_dropout_prob",
            "attention_dropout": "attention_probs_dropout_prob",
        },
        defaults={"num_hidden_layers": 6},
        fixed={"embedding_size": None, "type_vocab_size": 0, "layer_norm_eps": 1e-12},
        segments=False,
        attention_output_dropout=False,
    ),
    "electra": Family(
        "ELECTRA",
        "Electra",
        modules={"bert": "electra", "bert.embeddings.embeddings_project": "electra.embeddings_project"},
        elsewhere=rf"{_ELSEWHERE}|(discriminator|generator)_predictions\..+|generator_lm_head\..+|sequence_summary\..+",
        defaults={"embedding_size": 128, "hidden_size": 256, "num_attention_heads": 4, "intermediate_size": 1024},
        fixed={},
    ),
}

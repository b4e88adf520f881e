import dataclasses
import json
import math
import re

import jax
import pytest

from tinybert_jax.errors import UserError
from tinybert_jax.model import BertConfig, BertForQuestionAnswering, init_params
from tinybert_jax.model.families import FAMILIES

BERT_BASE = BertConfig()
TINYBERT_6 = BertConfig(num_hidden_layers=6)
TINYBERT_4 = BertConfig(hidden_size=312, num_hidden_layers=4, intermediate_size=1200)


@pytest.mark.parametrize("model_type", FAMILIES)
def test_defaults_are_those_of_transformers(model_type):
    theirs = pytest.importorskip("transformers").AutoConfig.for_model(model_type).to_dict()
    ours = BertConfig.from_transformers({"model_type": model_type}).to_transformers()
    read = ours.keys() - {"dtype", "architectures"} - FAMILIES[model_type].tokens.keys()
    assert {key: theirs[key] for key in read} == {key: ours[key] for key in read}
    assert model_type != "bert" or BertConfig.from_transformers({}) == BertConfig()


def test_a_released_tinybert_config_is_read():
    content = {  # no model_type, and keys of Huawei's own
        "attention_probs_dropout_prob": 0.1,
        "cell": {},
        "emb_size": 312,
        "hidden_act": "gelu",
        "hidden_size": 312,
        "initializer_range": 0.02,
        "intermediate_size": 1200,
        "num_attention_heads": 12,
        "num_hidden_layers": 4,
        "pre_trained": "",
        "structure": [],
        "training": "",
    }
    assert BertConfig.from_transformers(content) == TINYBERT_4
    assert BertConfig.unknown_keys(content) == []


def test_stored_precision_and_nulls_are_passed_over():
    assert BertConfig.from_transformers({"dtype": "float16", "torch_dtype": "float16", "pad_token_id": None}) == (
        BertConfig()
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"model_type": "modernbert"}, "model_type must be one of bert, roberta, .*, got 'modernbert'"),
        ({"model_type": "deberta-v2"}, "model_type must be one of bert, roberta, .*, got 'deberta-v2'"),
        ({"model_type": ["bert"]}, r"model_type must be one of bert, .*, got \['bert'\]"),
        ({"position_embedding_type": "relative_key"}, "must be \"absolute\", got 'relative_key'"),
        ({"hidden_act": "mish"}, "hidden_act must be one of gelu, gelu_new, relu, .*, silu, got 'mish'"),
        ({"hidden_size": 770}, "num_attention_heads must divide hidden_size, got 12 heads for 770 units"),
    ],
)
def test_what_cannot_be_held_is_refused(content, message):
    with pytest.raises(UserError, match=message):
        BertConfig.from_transformers(content)


@pytest.mark.parametrize(
    ("key", "value", "plain"),
    [
        ("is_decoder", True, "false"),
        ("add_cross_attention", True, "false"),
        ("is_encoder_decoder", True, "false"),
        ("pruned_heads", {"1": [0]}, "{}"),
        ("auto_map", {"AutoModel": "modeling.Own"}, "{}"),
        ("quantization_config", {"quant_method": "bitsandbytes"}, "{}"),
        ("position_embedding_type", "relative_key_query", '"absolute"'),
    ],
)
def test_a_key_that_makes_another_network_is_refused_by_name(key, value, plain):
    with pytest.raises(UserError, match=f"^{key} must be {plain}, got {re.escape(repr(value))}: only plain encoders"):
        BertConfig.from_transformers({key: value})
    assert BertConfig.from_transformers({key: json.loads(plain)}) == BertConfig.from_transformers({key: None})


def test_keys_that_nobody_knows_are_listed():
    content = {"window": 128, "alibi": True, "hidden_size": 24, "is_decoder": False, "cell": {}}
    assert BertConfig.unknown_keys(content) == ["alibi", "window"]
    assert BertConfig.from_transformers(content).hidden_size == 24


@pytest.mark.parametrize("model_type", FAMILIES)
def test_all_that_transformers_writes_is_known(model_type):
    theirs = pytest.importorskip("transformers").AutoConfig.for_model(model_type)
    assert BertConfig.unknown_keys(theirs.to_dict()) == []
    assert BertConfig.from_transformers(theirs.to_dict()) == BertConfig.from_transformers({"model_type": model_type})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("vocab_size", 0),
        ("hidden_size", -1),
        ("num_hidden_layers", 0),
        ("num_attention_heads", 0),
        ("intermediate_size", 0),
        ("max_position_embeddings", 0),
        ("type_vocab_size", 0),
        ("pad_token_id", -1),
        ("pad_token_id", 30522),
        ("model_type", "gpt2"),
        ("num_hidden_layers", 2.0),
        ("num_hidden_layers", True),
        ("num_attention_heads", "12"),
        ("pad_token_id", 0.0),
        ("hidden_size", math.nan),
        ("layer_norm_eps", "1e-12"),
        ("layer_norm_eps", 0.0),
        ("layer_norm_eps", math.nan),
        ("layer_norm_eps", math.inf),
        ("initializer_range", -0.1),
        ("initializer_range", None),
        ("hidden_dropout_prob", False),
        ("hidden_dropout_prob", math.nan),
        ("hidden_act", ["gelu"]),
        ("hidden_dropout_prob", 1.0),
        ("attention_probs_dropout_prob", -0.1),
        ("dtype", "float16"),
    ],
)
def test_a_value_out_of_range_is_named(field, value):
    with pytest.raises(UserError, match=f"^{field} must be .*, got {re.escape(repr(value))}"):
        BertConfig(**{field: value})


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_round_trip_keeps_everything_but_the_compute_precision(dtype):
    config = BertConfig(
        hidden_size=30, num_attention_heads=3, hidden_act="gelu_new", layer_norm_eps=1e-7, pad_token_id=5, dtype=dtype
    )
    content = config.to_transformers()
    assert content["architectures"] == ["BertForQuestionAnswering"]
    assert (content["model_type"], content["dtype"]) == ("bert", "float32")
    assert BertConfig.from_transformers(content) == dataclasses.replace(config, dtype="float32")


def test_a_released_roberta_config_is_read_and_written():
    content = {  # deepset/roberta-base-squad2, without the keys that say nothing of the architecture
        "architectures": ["RobertaForQuestionAnswering"],
        "attention_probs_dropout_prob": 0.1,
        "bos_token_id": 0,
        "eos_token_id": 2,
        "gradient_checkpointing": False,
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.1,
        "hidden_size": 768,
        "initializer_range": 0.02,
        "intermediate_size": 3072,
        "language": "english",
        "layer_norm_eps": 1e-05,
        "max_position_embeddings": 514,
        "model_type": "roberta",
        "name": "Roberta",
        "num_attention_heads": 12,
        "num_hidden_layers": 12,
        "pad_token_id": 1,
        "type_vocab_size": 1,
        "vocab_size": 50265,
    }
    config = BertConfig.from_transformers(content)
    assert (config.max_positions, config.pad_token_id, config.type_vocab_size) == (512, 1, 1)
    written = config.to_transformers()
    assert {key: content.get(key) for key in written} == written | {"dtype": None}
    theirs = pytest.importorskip("transformers").RobertaConfig(**written)
    assert {key: value for key, value in theirs.to_dict().items() if key in content and content[key] != value} == {}


def test_max_positions():
    assert BERT_BASE.max_positions == 512
    roberta = BertConfig(model_type="roberta", pad_token_id=3, max_position_embeddings=5)
    assert roberta.max_positions == 1
    with pytest.raises(UserError, match=r"max_position_embeddings must be over pad_token_id \+ 1 = 4 .*RoBERTa, got 4"):
        dataclasses.replace(roberta, max_position_embeddings=4)


def test_head_size():
    assert (BERT_BASE.head_size, TINYBERT_6.head_size, TINYBERT_4.head_size) == (64, 64, 26)


def encoder_count(layers, width, inner):
    """Weights of embeddings and layers, written out by hand."""
    embeddings = (30522 + 512 + 2) * width + 2 * width
    attention = 4 * (width * width + width) + 2 * width
    feed_forward = (width * inner + inner) + (inner * width + width) + 2 * width
    return embeddings + layers * (attention + feed_forward)


@pytest.mark.parametrize(
    ("config", "shape", "with_pooler"),
    [
        (BERT_BASE, (12, 768, 3072), 109_482_240),
        (TINYBERT_6, (6, 768, 3072), 66_955_008),  # the paper's 67 M, the release's 66.96 M
        (TINYBERT_4, (4, 312, 1200), 14_350_248),
    ],
)
def test_named_sizes_have_the_published_number_of_parameters(config, shape, with_pooler):
    tree = jax.eval_shape(lambda key: init_params(BertForQuestionAnswering(config), key), jax.random.key(0))
    count = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))
    width = config.hidden_size
    assert count == encoder_count(*shape) + 2 * width + 2
    assert encoder_count(*shape) + width * width + width == with_pooler

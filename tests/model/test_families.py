"""Every family but BERT beside its twin in PyTorch. What RoBERTa has of its own is in test_roberta.py."""

import dataclasses
from dataclasses import replace
from functools import partial
from typing import get_args

import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from safetensors.numpy import load_file

from tests.model.twins import assert_same, close, torch_forward, torch_twin
from tinybert_jax.errors import UserError
from tinybert_jax.model import BertConfig, BertForQuestionAnswering, forward, init_params
from tinybert_jax.model.bert import Attention
from tinybert_jax.model.config import ModelType
from tinybert_jax.model.families import FAMILIES
from tinybert_jax.model.pretrained import MissingHeadWarning, load_pretrained, load_stored, save_pretrained

SHAPES = {
    "xlm-roberta": {"pad_token_id": 1, "type_vocab_size": 1, "max_position_embeddings": 18},
    "camembert": {"pad_token_id": 1, "type_vocab_size": 1, "max_position_embeddings": 18},
    "distilbert": {"type_vocab_size": 0},
    "electra": {"embedding_size": 12},
}
# What other classes write, by family.
FILES = [(family, kind) for family in SHAPES for kind in ("ForMaskedLM", "ForSequenceClassification", "Model")]
FILES += [("electra", "ForPreTraining"), ("bert", "ForPreTraining"), ("bert", "Model")]


@pytest.fixture(scope="module", params=SHAPES)
def config(config, request):
    """Two layers, 16 wide, 16 usable positions."""
    return replace(config, model_type=request.param, **SHAPES.get(request.param, {}))


@pytest.fixture(scope="module")
def params(config, random_params):
    return random_params(BertForQuestionAnswering(config), seed=3)


@pytest.fixture(scope="module")
def run(config):
    """`run(params, batch)`: the compiled forward."""
    return jax.jit(partial(forward, BertForQuestionAnswering(config), attention="probabilities"))


def classes(config, kind):
    return f"{config.family.classes}{kind}"


def test_every_name_of_a_family_has_its_entry():
    assert set(get_args(ModelType)) == FAMILIES.keys()


# --- parity with PyTorch ---------------------------------------------------------------------------------------------


def test_the_span_model_agrees_with_torch(tmp_path, config, run, batch):
    torch = pytest.importorskip("torch")
    theirs = torch_twin(classes(config, "ForQuestionAnswering"), config)
    theirs.save_pretrained(tmp_path / "model")
    read_config, params = load_pretrained(tmp_path / "model")
    assert read_config == config
    with torch.no_grad():
        outputs = torch_forward(theirs, config, batch)
    ours = run(params, batch)
    close(ours.logits, np.stack([outputs.start_logits, outputs.end_logits], -1))
    close(ours.hidden_states, np.stack(outputs.hidden_states))
    close(ours.probabilities, np.stack(outputs.attentions))


def test_transformers_loads_what_was_saved(tmp_path, run, config, params, batch):
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    save_pretrained(tmp_path / "m", config, params)
    assert_same(load_pretrained(tmp_path / "m")[1], params)
    auto = transformers.AutoModelForQuestionAnswering
    model, info = auto.from_pretrained(tmp_path / "m", output_loading_info=True)
    assert type(model).__name__ == classes(config, "ForQuestionAnswering")
    assert not any(info.values()), info
    with torch.no_grad():
        outputs = torch_forward(model.eval(), config, batch)
    real = batch.attention_mask
    close(run(params, batch).logits[real], np.stack([outputs.start_logits, outputs.end_logits], -1)[real])
    # and the weights that transformers writes of it are those we read
    model.save_pretrained(tmp_path / "theirs")
    assert_same(load_pretrained(tmp_path / "theirs")[1], params)
    assert (
        load_file(tmp_path / "theirs" / "model.safetensors").keys()
        == load_file(tmp_path / "m" / "model.safetensors").keys()
    )


@pytest.mark.parametrize(("config", "kind"), FILES, indirect=["config"])
def test_an_encoder_is_read_from_other_classes_files(tmp_path, config, kind):
    """Their heads are passed over, and named; `…Model` alone is saved without a prefix.

    "bert" is here for multilingual BERT, MiniLM and whole-word-masking BERTs: a pooler, and heads of pre-training.
    """
    theirs = torch_twin(classes(config, kind), config)
    theirs.save_pretrained(tmp_path / "m")
    assert kind == "Model" or load_stored(tmp_path / "m").left_out
    with pytest.warns(MissingHeadWarning, match="has no question-answering head"):
        read_config, params = load_pretrained(tmp_path / "m")
    save_pretrained(tmp_path / "again", read_config, {"bert": params["bert"]})
    stored = load_file(tmp_path / "m" / "model.safetensors")
    root = f"{config.family.modules.get('bert', 'bert')}."
    prefix = "" if kind == "Model" else root
    for name, tensor in load_file(tmp_path / "again" / "model.safetensors").items():
        np.testing.assert_array_equal(stored[prefix + name.removeprefix(root)], tensor, err_msg=name)


# --- what holds for any weights --------------------------------------------------------------------------------------


def test_segments_are_read_where_the_family_has_them(run, config, params, batch):
    one_segment = run(params, batch._replace(token_type_ids=batch.token_type_ids * 0)).logits
    assert np.array_equal(one_segment, run(params, batch).logits) != config.family.segments


def test_what_stands_in_the_padding_is_not_read(run, params, batch):
    other = batch._replace(input_ids=np.where(batch.attention_mask, batch.input_ids, 7))
    assert_same(run(params, other), run(params, batch))


def test_dropout_acts_where_the_familys_own_network_has_it(config, batch):
    """In DistilBERT not on what attention's own projection gives."""
    network = Attention(replace(config, hidden_dropout_prob=0.5, attention_probs_dropout_prob=0.0))
    x = jax.random.normal(jax.random.key(2), (*batch.input_ids.shape, 16))
    variables = network.init(jax.random.key(0), x, x, batch.attention_mask)
    key = {"dropout": jax.random.key(1)}
    still, dropped = (network.apply(variables, x, x, batch.attention_mask, rngs=rngs)[0] for rngs in ({}, key))
    assert np.array_equal(still, dropped) == (config.model_type == "distilbert")


# --- the shape -------------------------------------------------------------------------------------------------------


def test_an_electra_as_wide_in_its_tables_as_in_its_layers_has_no_projection():
    config = BertConfig(40, 16, 1, 2, 24, model_type="electra", embedding_size=12)
    content = config.to_transformers() | {"embedding_size": 16}
    wide = BertConfig.from_transformers(content)
    assert (wide.embedding_size, wide.embedding_width) == (None, 16)
    assert wide.to_transformers() == content
    trees = [
        flatten_dict(jax.eval_shape(partial(init_params, BertForQuestionAnswering(one)), jax.random.key(0)))
        for one in (config, wide)
    ]
    assert {path[-2] for path in trees[0].keys() - trees[1].keys()} == {"embeddings_project"}


def test_a_released_distilbert_config_is_read_and_written():
    content = {  # distilbert-base-cased-distilled-squad
        "activation": "gelu",
        "architectures": ["DistilBertForQuestionAnswering"],
        "attention_dropout": 0.1,
        "dim": 768,
        "dropout": 0.1,
        "hidden_dim": 3072,
        "initializer_range": 0.02,
        "max_position_embeddings": 512,
        "model_type": "distilbert",
        "n_heads": 12,
        "n_layers": 6,
        "output_past": True,
        "pad_token_id": 0,
        "qa_dropout": 0.1,
        "seq_classif_dropout": 0.2,
        "sinusoidal_pos_embds": True,
        "tie_weights_": True,
        "vocab_size": 28996,
    }
    config = BertConfig.from_transformers(content)
    assert (config.hidden_size, config.num_hidden_layers, config.intermediate_size) == (768, 6, 3072)
    assert BertConfig.unknown_keys(content) == []
    written = config.to_transformers()
    assert {key: content.get(key) for key in written} == written | {"dtype": None}


def test_a_released_electra_config_is_read_and_written():
    content = {  # google/electra-small-discriminator, without what says nothing of the architecture
        "architectures": ["ElectraForQuestionAnswering"],
        "attention_probs_dropout_prob": 0.1,
        "embedding_size": 128,
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.1,
        "hidden_size": 256,
        "initializer_range": 0.02,
        "intermediate_size": 1024,
        "layer_norm_eps": 1e-12,
        "max_position_embeddings": 512,
        "model_type": "electra",
        "num_attention_heads": 4,
        "num_hidden_layers": 12,
        "pad_token_id": 0,
        "type_vocab_size": 2,
        "vocab_size": 30522,
    }
    config = BertConfig.from_transformers(content)
    assert (config.embedding_size, config.hidden_size, config.head_size) == (128, 256, 64)
    written = config.to_transformers()
    assert {key: content.get(key) for key in written} == written | {"dtype": None}


@pytest.mark.parametrize(
    ("family", "field", "value", "rule"),
    [
        ("distilbert", "type_vocab_size", 2, "0 in the family DistilBERT"),
        ("distilbert", "layer_norm_eps", 1e-5, "1e-12 in the family DistilBERT"),
        ("bert", "embedding_size", 128, "None in the family BERT"),
        ("electra", "embedding_size", 0, "at least 1"),
        ("electra", "embedding_size", 12.0, "a whole number"),
        ("electra", "embedding_size", 768, "other than hidden_size = 768: .* transformers has no projection"),
    ],
)
def test_what_a_family_cannot_have_is_refused(family, field, value, rule):
    fixed = FAMILIES[family].fixed
    with pytest.raises(UserError, match=f"^{field} must be {rule}, got {value}"):
        BertConfig(**{"model_type": family, **fixed, field: value})


def test_a_key_that_the_family_does_not_have_is_named_and_not_read():
    content = {"model_type": "distilbert", "type_vocab_size": 2, "layer_norm_eps": 1e-5}
    assert BertConfig.unknown_keys(content) == ["layer_norm_eps", "type_vocab_size"]
    assert BertConfig.from_transformers(content) == BertConfig.from_transformers({"model_type": "distilbert"})
    assert BertConfig.unknown_keys({"embedding_size": 128}) == ["embedding_size"]
    assert BertConfig.from_transformers({"embedding_size": 128}) == BertConfig()


@pytest.mark.parametrize("family", FAMILIES)
def test_a_config_survives_the_way_there_and_back(family):
    config = BertConfig.from_transformers({"model_type": family, "pad_token_id": 3})
    assert BertConfig.from_transformers(config.to_transformers()) == config
    assert dataclasses.replace(config) == config

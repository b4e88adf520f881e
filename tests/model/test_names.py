from dataclasses import replace
from functools import partial

import jax
import pytest
from flax.traverse_util import flatten_dict

from tinybert_jax.model import BertForMaskedLM, BertForQuestionAnswering, init_params
from tinybert_jax.model.families import FAMILIES
from tinybert_jax.model.names import Place, is_derived, is_elsewhere, is_transposed, places, stored_name

HEADS = {"qa_outputs": BertForQuestionAnswering, "cls": BertForMaskedLM}


def paths(config, head="qa_outputs"):
    """Where our tree holds its tensors."""
    return list(flatten_dict(jax.eval_shape(partial(init_params, HEADS[head](config)), jax.random.key(0))))


def path(dotted):
    return tuple(dotted.split("."))


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("family", FAMILIES)
def test_a_table_is_a_bijection_over_the_tree(config, family, head):
    tree = paths(replace(config, num_hidden_layers=12), head)
    names = {ours: stored_name(family, ours) for ours in tree}
    assert len(set(names.values())) == len(tree)
    known = places(family, tree)
    assert {name: known[name] for name in names.values()} == {
        name: Place(ours, is_transposed(ours)) for ours, name in names.items()
    }


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("family", FAMILIES)
def test_no_spelling_belongs_to_two_tensors_or_to_none(config, family, head):
    tree = paths(config, head)
    alone = [places(family, [ours]) for ours in tree]
    assert len(places(family, tree)) == sum(map(len, alone))
    assert not any(is_elsewhere(family, name, [head]) for name in places(family, tree))


@pytest.mark.parametrize(
    ("family", "ours", "theirs"),
    [
        ("bert", "bert.embeddings.word_embeddings.embedding", "bert.embeddings.word_embeddings.weight"),
        ("bert", "bert.encoder.layer.11.output.LayerNorm.scale", "bert.encoder.layer.11.output.LayerNorm.weight"),
        ("bert", "cls.predictions.bias", "cls.predictions.bias"),
        ("roberta", "bert.encoder.layer.3.output.dense.kernel", "roberta.encoder.layer.3.output.dense.weight"),
        ("roberta", "qa_outputs.bias", "qa_outputs.bias"),
        ("distilbert", "bert.embeddings.LayerNorm.scale", "distilbert.embeddings.LayerNorm.weight"),
        (
            "distilbert",
            "bert.encoder.layer.10.attention.self.key.kernel",
            "distilbert.transformer.layer.10.attention.k_lin.weight",
        ),
        (
            "distilbert",
            "bert.encoder.layer.0.attention.output.LayerNorm.bias",
            "distilbert.transformer.layer.0.sa_layer_norm.bias",
        ),
        ("electra", "bert.embeddings.embeddings_project.kernel", "electra.embeddings_project.weight"),
        ("electra", "bert.encoder.layer.3.output.dense.kernel", "electra.encoder.layer.3.output.dense.weight"),
    ],
)
def test_a_name_by_hand(family, ours, theirs):
    assert stored_name(family, path(ours)) == theirs


def test_every_spelling_of_a_tensor():
    matrix, norm = path("bert.encoder.layer.0.output.dense.kernel"), path("bert.embeddings.LayerNorm.bias")
    assert places("roberta", [matrix]) == {
        "roberta.encoder.layer.0.output.dense.weight": Place(matrix, True),
        "encoder.layer.0.output.dense.weight": Place(matrix, True),
        "roberta.encoder.layer.0.output.dense.kernel": Place(matrix, False),
        "encoder.layer.0.output.dense.kernel": Place(matrix, False),
        "bert.encoder.layer.0.output.dense.kernel": Place(matrix, False),
    }
    assert set(places("bert", [norm])) == {
        f"{root}embeddings.LayerNorm.{leaf}" for root in ("bert.", "") for leaf in ("bias", "beta")
    }


def test_the_longest_row_of_a_table_decides(monkeypatch):
    """As a family needs them that names its layers' parts otherwise."""
    rows = {
        "bert": "small",
        "bert.encoder.layer.*": "small.blocks.*",
        "bert.encoder.layer.*.output.LayerNorm": "small.blocks.*.norm",
    }
    monkeypatch.setitem(FAMILIES, "small", replace(FAMILIES["bert"], modules=rows))
    names = {
        "bert.embeddings.LayerNorm.scale": "small.embeddings.LayerNorm.weight",
        "bert.encoder.layer.10.output.dense.kernel": "small.blocks.10.output.dense.weight",
        "bert.encoder.layer.10.output.LayerNorm.bias": "small.blocks.10.norm.bias",
    }
    assert {ours: stored_name("small", path(ours)) for ours in names} == names
    assert places("small", [path("bert.encoder.layer.10.output.LayerNorm.bias")])["blocks.10.norm.beta"].path[3] == "10"


@pytest.mark.parametrize(
    ("name", "elsewhere"),
    [
        ("bert.pooler.dense.weight", True),
        ("pooler.dense.weight", True),
        ("fit_denses.3.weight", True),
        ("cls.predictions.bias", True),  # another head's
        ("qa_outputs.scale", False),
        ("bert.encoder.layer.0.pooler", False),
    ],
)
def test_what_belongs_to_other_heads(name, elsewhere):
    assert is_elsewhere("bert", name, ["qa_outputs"]) is elsewhere


def test_what_follows_from_others():
    assert is_derived("bert.embeddings.position_ids")
    assert is_derived("embeddings.token_type_ids")
    assert is_derived("cls.predictions.decoder.weight")
    assert not is_derived("bert.embeddings.position_embeddings.weight")

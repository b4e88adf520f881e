"""A network of each kind of embeddings, and what onnxruntime makes of their files."""

from dataclasses import replace

import pytest

from tinybert_jax.model import BertForQuestionAnswering, Model

FAMILIES = {
    "bert": {},
    "roberta": {"pad_token_id": 1, "type_vocab_size": 1},
    "distilbert": {"type_vocab_size": 0},
    "electra": {"embedding_size": 12},
}


@pytest.fixture(scope="session", params=FAMILIES)
def network(request, config, random_params):
    """Random weights, large enough that attention is far from uniform; room for 40 tokens."""
    config = replace(config, max_position_embeddings=42, layer_norm_eps=1e-5 if request.param == "bert" else 1e-12)
    config = replace(config, model_type=request.param, **FAMILIES[request.param])
    params = random_params(BertForQuestionAnswering(config), seed=4)
    for layer in params["bert"]["encoder"]["layer"].values():
        for part in ("query", "key"):
            layer["attention"]["self"][part]["kernel"] *= 4
    return Model(config, params)

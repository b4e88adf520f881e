"""What RoBERTa has of its own, beside its twin in PyTorch; all else it shares with BERT, and test_bert.py holds."""

from dataclasses import replace
from functools import partial

import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from safetensors.numpy import load_file, save_file

from tests.model.twins import assert_same, close, torch_forward, torch_twin
from tinybert_jax.distill.losses import attention_scores
from tinybert_jax.errors import UserError
from tinybert_jax.model import BertForMaskedLM, BertForQuestionAnswering, forward, init_params
from tinybert_jax.model.pretrained import MissingHeadWarning, load_pretrained, load_stored, save_pretrained
from tinybert_jax.store.files import write_json

PAD = 1


@pytest.fixture(scope="module")
def config(config):
    """Two layers, 16 wide, 16 usable positions, and a segment that is never read."""
    return replace(config, model_type="roberta", pad_token_id=PAD, type_vocab_size=2, max_position_embeddings=18)


@pytest.fixture(scope="module")
def params(config, random_params):
    return random_params(BertForQuestionAnswering(config), seed=3)


@pytest.fixture(scope="module")
def batch(batch):
    """Padded with 0, not with RoBERTa's 1, as batches are; one real token is <pad>, which takes no position."""
    ids = np.where(batch.input_ids == PAD, 2, batch.input_ids)
    ids[0, 3] = PAD
    return batch._replace(input_ids=ids)


@pytest.fixture(scope="module")
def run(config, params):
    """`run(batch)`: the compiled forward."""
    return jax.jit(partial(forward, BertForQuestionAnswering(config), params))


# --- parity with PyTorch ---------------------------------------------------------------------------------------------


def test_the_span_model_agrees_with_torch(tmp_path, config, batch):
    torch = pytest.importorskip("torch")
    theirs = torch_twin("RobertaForQuestionAnswering", config)
    theirs.save_pretrained(tmp_path / "model")
    read_config, params = load_pretrained(tmp_path / "model")
    assert read_config == config
    with torch.no_grad():
        outputs = torch_forward(theirs, config, batch)
    forward_ = partial(forward, BertForQuestionAnswering(config), params, batch)
    ours, other = jax.jit(lambda: (forward_(attention="scores"), forward_(attention="probabilities")))()
    close(ours.logits, np.stack([outputs.start_logits, outputs.end_logits], -1))
    close(ours.hidden_states, np.stack(outputs.hidden_states))
    close(other.probabilities, np.stack(outputs.attentions))
    for queries, keys, attention in zip(ours.queries, ours.keys, outputs.attentions, strict=True):
        scores = np.where(batch.attention_mask[:, None, None], attention_scores(queries, keys), -np.inf)
        close(jax.nn.softmax(scores), attention)


def test_gradients_agree_with_torch(tmp_path, config, batch):
    torch = pytest.importorskip("torch")
    config = replace(config, num_hidden_layers=1)
    theirs = torch_twin("RobertaForQuestionAnswering", config)
    theirs.save_pretrained(tmp_path / "model")
    outputs = torch_forward(theirs, config, batch)
    logits = torch.stack([outputs.start_logits, outputs.end_logits], -1)
    weights = np.random.default_rng(3).normal(size=logits.shape).astype(np.float32)
    (logits * torch.tensor(weights)).mean().backward()
    for parameter in theirs.parameters():
        parameter.data = parameter.grad
    theirs.save_pretrained(tmp_path / "gradients")
    params, expected = (load_pretrained(tmp_path / name)[1] for name in ("model", "gradients"))

    model = BertForQuestionAnswering(config)
    ours = jax.jit(jax.grad(lambda params: (forward(model, params, batch).logits * weights).mean()))(params)
    for path, gradient in flatten_dict(ours).items():
        np.testing.assert_allclose(gradient, flatten_dict(expected)[path], rtol=1e-3, atol=1e-6, err_msg=path)
    embeddings = ours["bert"]["embeddings"]
    assert not np.any(embeddings["word_embeddings"]["embedding"][PAD])
    # the longest row's 7 tokens have positions 2 to 8; 1 is that of padding and of a real <pad>, 0 nobody's
    trained = np.any(embeddings["position_embeddings"]["embedding"], axis=1)
    assert trained.tolist() == [False] * 2 + [True] * 7 + [False] * 9


# --- what holds for any weights --------------------------------------------------------------------------------------


def test_neither_segments_nor_what_stands_in_the_padding_are_read(run, batch):
    other = batch._replace(
        input_ids=np.where(batch.attention_mask, batch.input_ids, 7), token_type_ids=np.full_like(batch.input_ids, 9)
    )
    assert_same(run(other), run(batch))


def test_padding_changes_nothing_at_real_tokens(run, batch):
    longer = {name: np.pad(getattr(batch, name), ((0, 0), (0, 4))) for name in batch._fields[:3]}
    real = batch.attention_mask
    close(run(batch._replace(**longer)).logits[:, :8][real], run(batch).logits[real], 1e-5)


def test_a_row_longer_than_the_usable_positions_is_refused(run, batch):
    def row(length):
        ids = np.full((1, length), 5, np.int32)
        return batch._replace(input_ids=ids, token_type_ids=ids, attention_mask=ids > 0)

    assert np.isfinite(run(row(16)).logits).all()
    with pytest.raises(UserError, match=r"holds 16 tokens \(max_position_embeddings = 18\), got 17"):
        run(row(17))


def test_the_tree_is_berts(config):
    def names(config):
        shapes = jax.eval_shape(partial(init_params, BertForQuestionAnswering(config)), jax.random.key(0))
        return set(flatten_dict(shapes))

    assert names(config) == names(replace(config, model_type="bert"))


# --- conversion ------------------------------------------------------------------------------------------------------


def test_transformers_loads_what_was_saved(tmp_path, run, config, params, batch):
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    save_pretrained(tmp_path / "m", config, params)
    auto = transformers.AutoModelForQuestionAnswering
    model, info = auto.from_pretrained(tmp_path / "m", output_loading_info=True)
    assert type(model).__name__ == "RobertaForQuestionAnswering"
    assert not any(info.values()), info
    with torch.no_grad():
        outputs = torch_forward(model.eval(), config, batch)
    real = batch.attention_mask
    close(run(batch).logits[real], np.stack([outputs.start_logits, outputs.end_logits], -1)[real])
    # and the weights that transformers writes of it are those we read
    model.save_pretrained(tmp_path / "theirs")
    read_config, read = load_pretrained(tmp_path / "theirs")
    assert read_config == config
    assert_same(read, params)


def test_round_trip_is_bit_exact_under_transformers_names(tmp_path, config, params):
    save_pretrained(tmp_path / "m", config, params)
    roots = {name.partition(".")[0] for name in load_file(tmp_path / "m" / "model.safetensors")}
    assert roots == {"roberta", "qa_outputs"}
    read_config, read = load_pretrained(tmp_path / "m")
    assert read_config == config
    assert_same(read, params)


def test_our_own_tree_is_read(tmp_path, config, params):
    """As `convert --to orbax` writes it: its root is "bert"."""
    import orbax.checkpoint as ocp

    write_json(tmp_path / "config.json", config.to_transformers())
    with ocp.PyTreeCheckpointer() as checkpointer:
        checkpointer.save(tmp_path / "params.orbax", params)
    assert_same(load_pretrained(tmp_path)[1], params)


@pytest.mark.parametrize("name", ["RobertaForMaskedLM", "RobertaForSequenceClassification", "RobertaModel"])
def test_an_encoder_is_read_from_other_classes_files(tmp_path, config, name):
    """A masked-LM head, a pooler or a classifier is passed over; `RobertaModel` alone is saved without a prefix."""
    theirs = torch_twin(name, config)
    theirs.save_pretrained(tmp_path / "m")
    stored = load_file(tmp_path / "m" / "model.safetensors")
    # as older versions of transformers wrote it
    prefix = "" if name == "RobertaModel" else "roberta."
    pooler = {f"{prefix}pooler.dense.weight": np.ones((16, 16), np.float32)}
    positions = {f"{prefix}embeddings.position_ids": np.arange(18)[None]}
    save_file(stored | pooler | positions, tmp_path / "m" / "model.safetensors")
    head = {"RobertaForMaskedLM": "lm_head.", "RobertaForSequenceClassification": "classifier.", "RobertaModel": prefix}
    left_out = load_stored(tmp_path / "m").left_out
    assert f"{prefix}pooler.dense.weight" in left_out
    assert any(stored_name.startswith(head[name]) for stored_name in left_out)
    with pytest.warns(MissingHeadWarning, match="has no question-answering head"):
        _, params = load_pretrained(tmp_path / "m")
    expected = stored[f"{prefix}encoder.layer.1.attention.self.query.weight"].T
    np.testing.assert_array_equal(
        params["bert"]["encoder"]["layer"]["1"]["attention"]["self"]["query"]["kernel"], expected
    )


def test_a_roberta_is_not_read_as_a_bert(tmp_path, config, params):
    save_pretrained(tmp_path / "m", config, params)
    write_json(tmp_path / "m" / "config.json", replace(config, model_type="bert").to_transformers())
    with pytest.raises(UserError, match=r"unexpected +roberta\.embeddings\.LayerNorm\.bias"):
        load_pretrained(tmp_path / "m")


def test_the_masked_lm_head_is_refused_both_ways(tmp_path, config, params, random_params):
    save_pretrained(tmp_path / "m", config, params)
    with pytest.raises(UserError, match="masked-lm head is supported only for BERT, got model_type 'roberta'"):
        load_pretrained(tmp_path / "m", head="masked-lm")
    mlm = random_params(BertForMaskedLM(config), seed=4)
    with pytest.raises(UserError, match="masked-lm head is supported only for BERT"):
        save_pretrained(tmp_path / "mlm", config, mlm)
    assert not (tmp_path / "mlm").exists()

from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from safetensors.numpy import save_file

from tinybert_jax.distill.losses import attention_scores
from tinybert_jax.errors import UserError
from tinybert_jax.model import BertConfig, BertForMaskedLM, BertForQuestionAnswering, forward, init_params
from tinybert_jax.model.pretrained import load_pretrained
from tinybert_jax.store.files import write_json

CLASSES = {"question-answering": BertForQuestionAnswering, "masked-lm": BertForMaskedLM}


@pytest.fixture(scope="module")
def run(config, params):
    """`run(batch, key=None)`: the compiled forward with queries and keys."""
    model = BertForQuestionAnswering(config)
    return jax.jit(lambda batch, key=None: forward(model, params, batch, attention="scores", dropout_key=key))


def padded(batch, length):
    extra = ((0, 0), (0, length - batch.input_ids.shape[1]))
    return batch._replace(**{name: np.pad(getattr(batch, name), extra) for name in batch._fields[:3]})


# --- parity with PyTorch ---------------------------------------------------------------------------------------------


def torch_model(config, head):
    """A torch model with every parameter random, in evaluation."""
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    content = config.to_transformers()
    model = getattr(transformers, CLASSES[head].__name__)._from_config(
        transformers.BertConfig(**content), attn_implementation="eager"
    )
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
    return model.eval()


def as_ours(folder, config, head, tensors):
    """Tensors under torch's names as our tree, by the way a user's checkpoint takes."""
    folder.mkdir()
    write_json(folder / "config.json", config.to_transformers())
    save_file({name: tensor.detach().numpy().copy() for name, tensor in tensors.items()}, folder / "model.safetensors")
    return load_pretrained(folder, head=head)[1]


def torch_forward(model, batch):
    """The model's outputs, and the queries and keys its layers computed."""
    torch = pytest.importorskip("torch")
    seen = {"query": [], "key": []}
    for layer in model.bert.encoder.layer:
        for name, values in seen.items():
            hook = getattr(layer.attention.self, name).register_forward_hook
            hook(lambda _module, _inputs, output, values=values: values.append(output))
    outputs = model(
        input_ids=torch.tensor(batch.input_ids),
        token_type_ids=torch.tensor(batch.token_type_ids),
        attention_mask=torch.tensor(batch.attention_mask).long(),
        output_hidden_states=True,
        output_attentions=True,
    )
    return outputs, seen["query"], seen["key"]


def close(ours, theirs, tolerance=2e-5):
    np.testing.assert_allclose(ours, np.asarray(theirs), rtol=0, atol=tolerance)


@pytest.mark.parametrize(("activation", "layers"), [("gelu", 2), ("gelu_new", 1), ("relu", 1)])
def test_span_model_and_encoder_agree_with_torch(tmp_path, config, batch, activation, layers):
    torch = pytest.importorskip("torch")
    config = replace(config, hidden_act=activation, num_hidden_layers=layers)
    theirs = torch_model(config, "question-answering")
    params = as_ours(tmp_path / "model", config, "question-answering", theirs.state_dict())
    with torch.no_grad():
        outputs, queries, keys = torch_forward(theirs, batch)
    forward_ = partial(forward, BertForQuestionAnswering(config), params, batch)
    ours, other = jax.jit(lambda: (forward_(attention="scores"), forward_(attention="probabilities")))()
    close(ours.logits, np.stack([outputs.start_logits, outputs.end_logits], -1))
    close(ours.hidden_states, np.stack(outputs.hidden_states))
    close(other.probabilities, np.stack(outputs.attentions))
    for layer, (query, key) in enumerate(zip(queries, keys, strict=True)):
        query, key = (x.reshape(3, 8, 2, 8).transpose(1, 2) for x in (query, key))
        scores = query @ key.transpose(2, 3) / 8**0.5
        close(attention_scores(ours.queries[layer], ours.keys[layer]), scores)


def test_masked_lm_agrees_with_torch(tmp_path, config, batch):
    torch = pytest.importorskip("torch")
    theirs = torch_model(config, "masked-lm")
    params = as_ours(tmp_path / "model", config, "masked-lm", theirs.state_dict())
    with torch.no_grad():
        outputs, _, _ = torch_forward(theirs, batch)
    ours = jax.jit(partial(forward, BertForMaskedLM(config)))(params, batch)
    close(ours.logits, outputs.logits)
    close(ours.hidden_states, np.stack(outputs.hidden_states))


@pytest.mark.parametrize("head", CLASSES)
def test_gradients_agree_with_torch(tmp_path, config, batch, head):
    torch = pytest.importorskip("torch")
    config = replace(config, num_hidden_layers=1)
    theirs = torch_model(config, head)
    params = as_ours(tmp_path / "model", config, head, theirs.state_dict())
    outputs, _, _ = torch_forward(theirs, batch)
    logits = outputs.logits if head == "masked-lm" else torch.stack([outputs.start_logits, outputs.end_logits], -1)
    weights = np.random.default_rng(3).normal(size=logits.shape).astype(np.float32)
    (logits * torch.tensor(weights)).mean().backward()
    gradients = {name: p.grad for name, p in theirs.named_parameters()}
    expected = as_ours(tmp_path / "gradients", config, head, gradients)

    model = CLASSES[head](config)
    ours = jax.jit(jax.grad(lambda params: (forward(model, params, batch).logits * weights).mean()))(params)
    for path, gradient in flatten_dict(ours).items():
        np.testing.assert_allclose(gradient, flatten_dict(expected)[path], rtol=1e-3, atol=1e-6, err_msg=path)
    pad_row = ours["bert"]["embeddings"]["word_embeddings"]["embedding"][config.pad_token_id]
    # The look-up never trains padding's row; the tied decoder does, through the logit of [PAD].
    assert np.any(pad_row) == (head == "masked-lm")


# --- what holds for any weights --------------------------------------------------------------------------------------


def test_padding_changes_nothing_at_real_tokens(run, batch):
    short, long = run(batch), run(padded(batch, 12))
    real = batch.attention_mask
    close(long.logits[:, :8][real], short.logits[real], 1e-5)
    for ours, other in zip(long.hidden_states, short.hidden_states, strict=True):
        close(ours[:, :8][real], other[real], 1e-5)


def test_what_stands_in_the_padding_is_not_read(run, batch):
    real = batch.attention_mask
    other = batch._replace(input_ids=np.where(real, batch.input_ids, 7), token_type_ids=np.ones_like(batch.input_ids))
    other = other._replace(token_type_ids=np.where(real, batch.token_type_ids, 1))
    close(run(other).logits[real], run(batch).logits[real], 1e-6)


def test_rows_are_independent(run, batch):
    order = np.array([2, 0, 0])
    reordered = run(jax.tree.map(lambda column: column[order], batch))
    close(reordered.logits, run(batch).logits[order], 1e-6)


def test_jit_and_eager_agree(run, config, params, batch):
    eager = forward(BertForQuestionAnswering(config), params, batch, attention="scores")
    jax.tree.map(partial(close, tolerance=1e-5), run(batch), eager)


def test_bfloat16_stays_close(run, config, params, batch):
    model = BertForQuestionAnswering(replace(config, dtype="bfloat16"))
    low = jax.jit(partial(forward, model, attention="probabilities"))(params, batch)
    full = run(batch)
    assert low.logits.dtype == jnp.float32
    assert {x.dtype for x in (*low.hidden_states, *low.probabilities)} == {np.dtype(jnp.bfloat16)}
    real = batch.attention_mask
    close(low.logits[real], full.logits[real], 0.05)
    for ours, other in zip(low.hidden_states, full.hidden_states, strict=True):
        close(ours[real].astype(np.float32), other[real], 0.1)


def test_parameters_stay_float32_whatever_the_compute(config):
    model = BertForQuestionAnswering(replace(config, dtype="bfloat16"))
    shapes = jax.eval_shape(lambda key: init_params(model, key), jax.random.key(0))
    assert {leaf.dtype for leaf in jax.tree.leaves(shapes)} == {np.dtype(np.float32)}


def test_a_filler_row_is_finite(run, batch):
    mask = batch.attention_mask.copy()
    mask[1] = False
    filled = run(batch._replace(attention_mask=mask))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(filled))
    close(filled.logits[0], run(batch).logits[0], 1e-6)


def test_a_row_longer_than_the_position_table_is_refused(config, params, batch):
    with pytest.raises(UserError, match=r"max_position_embeddings.* 16.*17"):
        forward(BertForQuestionAnswering(config), params, padded(batch, 17))


def test_the_attention_argument_decides_what_is_returned(config, params, batch):
    def shapes(attention):
        model = BertForQuestionAnswering(config)
        outputs = jax.eval_shape(partial(forward, model, attention=attention), params, batch)
        return jax.tree.map(lambda x: x.shape, outputs)._asdict()

    always = {"logits": (3, 8, 2), "hidden_states": ((3, 8, 16),) * 3}
    nothing = dict.fromkeys(("queries", "keys", "values", "probabilities"))
    assert shapes("none") == always | nothing
    assert shapes("scores") == always | nothing | dict.fromkeys(("queries", "keys"), ((3, 8, 2, 8),) * 2)
    by_heads = dict.fromkeys(("queries", "keys", "values"), ((3, 8, 2, 8),) * 2)
    assert shapes("relations") == always | nothing | by_heads
    assert shapes("probabilities") == always | nothing | {"probabilities": ((3, 2, 8, 8),) * 2}


# --- dropout ---------------------------------------------------------------------------------------------------------


def test_without_a_key_or_a_rate_nothing_is_dropped(config, params, batch):
    def computation(config, key=None):
        model = BertForQuestionAnswering(config)
        return str(jax.make_jaxpr(lambda: forward(model, params, batch, dropout_key=key))())

    never = replace(config, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    assert computation(config) == computation(never)
    assert "random_bits" in computation(config, jax.random.key(0))
    assert "random_bits" not in computation(never, jax.random.key(0))


def test_the_key_alone_decides_what_is_dropped(run, batch):
    first, again, other = (run(batch, jax.random.key(seed)).logits for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0.01
    assert np.abs(first - run(batch).logits).max() > 0.01


def test_layers_drop_independently(config, params):
    config = replace(config, attention_probs_dropout_prob=0.5)
    ids = np.random.default_rng(0).integers(1, 40, (64, 16)).astype(np.int32)

    class Full:
        input_ids, token_type_ids, attention_mask = ids, np.zeros_like(ids), np.ones_like(ids, bool)

    forward_ = partial(forward, BertForQuestionAnswering(config), attention="probabilities")
    probabilities = jax.jit(lambda key: forward_(params, Full, dropout_key=key).probabilities)(jax.random.key(0))
    first, second = np.asarray(probabilities) == 0  # 64·2·16·16 = 32,768 elements a layer
    assert abs(first.mean() - 0.5) < 0.015
    assert abs((first == second).mean() - 0.5) < 0.015  # 5 standard deviations


# --- the parameter tree ----------------------------------------------------------------------------------------------


def tree_names(model):
    return set(flatten_dict(jax.eval_shape(lambda key: init_params(model, key), jax.random.key(0)), sep="."))


def test_the_tree_has_the_names_of_transformers(config):
    dense, norm = ("kernel", "bias"), ("scale", "bias")
    layer = {
        **{f"attention.self.{name}": dense for name in ("query", "key", "value")},
        "attention.output.dense": dense,
        "attention.output.LayerNorm": norm,
        "intermediate.dense": dense,
        "output.dense": dense,
        "output.LayerNorm": norm,
    }
    modules = {
        **{f"bert.embeddings.{name}_embeddings": ("embedding",) for name in ("word", "position", "token_type")},
        "bert.embeddings.LayerNorm": norm,
        **{f"bert.encoder.layer.{i}.{name}": leaves for i in range(2) for name, leaves in layer.items()},
    }

    def names(modules):
        return {f"{module}.{leaf}" for module, leaves in modules.items() for leaf in leaves}

    assert tree_names(BertForQuestionAnswering(config)) == names(modules | {"qa_outputs": dense})
    mlm = {"cls.predictions.transform.dense": dense, "cls.predictions.transform.LayerNorm": norm}
    assert tree_names(BertForMaskedLM(config)) == names(modules | mlm) | {"cls.predictions.bias"}


def test_initialisation_is_berts():
    config = BertConfig(vocab_size=500, hidden_size=64, num_hidden_layers=1, num_attention_heads=2)
    random = ("bert.embeddings.word_embeddings.embedding", "bert.encoder.layer.0.output.dense.kernel")
    fixed = {"bert.encoder.layer.0.output.dense.bias": 0, "bert.encoder.layer.0.output.LayerNorm.scale": 1}

    def picked(key):
        leaves = flatten_dict(init_params(BertForQuestionAnswering(config), key), sep=".")
        return {name: leaves[name] for name in (*random, *fixed)}

    leaves = jax.jit(picked)(jax.random.key(0))
    for name in random:
        count = leaves[name].size
        assert abs(np.mean(leaves[name])) < 5 * 0.02 / count**0.5
        assert abs(np.std(leaves[name]) - 0.02) < 5 * 0.02 / (2 * count) ** 0.5
    for name, value in fixed.items():
        np.testing.assert_array_equal(leaves[name], value)


def test_parameters_are_those_that_running_the_network_would_draw(config):
    """To the bit, so that a seed gives the models that it always gave."""
    model, key, ids = BertForQuestionAnswering(config), jax.random.key(3), jnp.zeros((1, 1), jnp.int32)
    inputs = SimpleNamespace(input_ids=ids, token_type_ids=ids, attention_mask=ids == 0)
    jax.tree.map(np.testing.assert_array_equal, init_params(model, key), dict(model.init(key, inputs)["params"]))

import warnings
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tinybert_jax.distill import AttentionDroppedWarning, Intermediate, LossInputs, Projection, losses
from tinybert_jax.errors import UserError
from tinybert_jax.model import BertConfig, BertForQuestionAnswering, Outputs, forward


class Labels(NamedTuple):
    attention_mask: np.ndarray


BATCH = Labels(np.arange(5) < np.array([5, 3])[:, None])


def outputs(layers, width, seed, heads=2):
    """Everything a forward could return, for the batch's (B, T) = (2, 5)."""
    rng = np.random.default_rng(seed)

    def normal(*shape):
        return jnp.asarray(rng.normal(size=shape), jnp.float32)

    return Outputs(
        logits=normal(2, 5, 2),
        hidden_states=tuple(normal(layers + 1, 2, 5, width)),
        queries=tuple(normal(layers, 2, 5, heads, width // heads)),
        keys=tuple(normal(layers, 2, 5, heads, width // heads)),
        probabilities=tuple(jax.nn.softmax(normal(layers, 2, heads, 5, 5))),
    )


def bert(layers, width=4, heads=2):
    return BertConfig(hidden_size=width, num_hidden_layers=layers, num_attention_heads=heads, intermediate_size=8)


def attention_of(compare, model, layer):
    if compare == "probabilities":
        return model.probabilities[layer - 1]
    scores = losses.attention_scores(model.queries[layer - 1], model.keys[layer - 1])
    if compare == "scores":
        return scores
    real = BATCH.attention_mask[:, None, None, :]
    return scores - (scores * real).sum(-1, keepdims=True) / real.sum(-1, keepdims=True)


@pytest.mark.parametrize("padding", ["masked", "counted"])
@pytest.mark.parametrize("compare", ["scores", "centred-scores", "probabilities"])
@pytest.mark.parametrize(
    ("width", "modes"),
    [
        (4, {}),
        (6, {"projection": Projection("shared", bias=True)}),
        (6, {"hidden_map": (4, 1), "attention_map": "last", "embeddings": False}),
        (4, {"hidden_weight": 0.5, "attention_weight": 3.0, "projection": Projection("per-state", always=True)}),
    ],
)
def test_the_loss_is_the_weighted_sum_of_its_parts(compare, padding, width, modes):
    objective = Intermediate(compare, padding, **modes)
    student, teacher = outputs(2, width, seed=0), outputs(4, 4, seed=1)
    projection = objective.init_projection(jax.random.key(0), bert(2, width), bert(4, 4))
    loss, terms = objective.loss(LossInputs(student, teacher, projection, BATCH))

    mask, positions = BATCH.attention_mask, losses.positions_of(BATCH.attention_mask, padding)
    hidden_map = {0: 0, 1: 2, 2: 4} if "hidden_map" not in modes else {1: 4, 2: 1}
    attention_map = {1: 2, 2: 4} if "attention_map" not in modes else {1: 3, 2: 4}
    hidden = sum(
        losses.hidden_mse(
            objective.projection.apply(projection, m, student.hidden_states[m]), teacher.hidden_states[g], positions
        )
        for m, g in hidden_map.items()
    )
    attention = sum(
        losses.attention_mse(attention_of(compare, student, m), attention_of(compare, teacher, g), mask, positions)
        for m, g in attention_map.items()
    )
    np.testing.assert_allclose(terms["hidden"], hidden, rtol=1e-5)
    np.testing.assert_allclose(terms["attention"], attention, rtol=1e-5)
    expected = objective.hidden_weight * hidden + objective.attention_weight * attention
    np.testing.assert_allclose(loss, expected, rtol=1e-5)


@pytest.mark.parametrize("compare", ["scores", "centred-scores", "probabilities"])
def test_a_student_equal_to_its_teacher_has_no_loss(compare):
    teacher = outputs(3, 4, seed=1)
    loss, terms = Intermediate(compare).loss(LossInputs(teacher, teacher, {}, BATCH))
    assert loss == terms["hidden"] == terms["attention"] == 0


def test_what_is_asked_of_the_forward():
    assert Intermediate().attention == "scores"
    assert Intermediate(compare="centred-scores").attention == "scores"
    assert Intermediate(compare="probabilities").attention == "probabilities"
    assert Intermediate(attention_weight=0.0).attention == "none"
    assert Intermediate().uses_teacher
    assert not Intermediate().reads_cache


def test_the_layer_map_is_described():
    assert Intermediate().describe(bert(2), bert(4)) == "1 ← 2, 2 ← 4"
    assert Intermediate(hidden_map=(3, 1)).describe(bert(2), bert(4)) == "1 ← 3, 2 ← 1"


def test_without_weight_attention_is_not_read():
    student, teacher = outputs(2, 4, seed=0), outputs(4, 4, seed=1)
    bare = (o._replace(queries=None, keys=None, probabilities=None) for o in (student, teacher))
    loss, terms = Intermediate(attention_weight=0.0).loss(LossInputs(*bare, {}, BATCH))
    assert (loss, terms["attention"]) == (terms["hidden"], 0)


def test_of_hidden_states_alone_the_forward_returns_no_attention(config, params, batch):
    alone = Intermediate(attention_weight=0.0)
    run = partial(forward, BertForQuestionAnswering(config), params, batch)
    returned = jax.eval_shape(lambda: run(attention=alone.attention))
    assert (returned.queries, returned.keys, returned.probabilities) == (None, None, None)
    loss, terms = jax.eval_shape(lambda: alone.loss(LossInputs(run(), run(), {}, batch)))
    assert (loss.shape, terms["hidden"].shape) == ((), ())


def test_a_shift_of_all_keys_is_not_seen_once_they_are_centred():
    student, teacher = outputs(2, 4, seed=0), outputs(4, 4, seed=1)
    shifted = student._replace(keys=tuple(keys + 2.0 for keys in student.keys))
    centred, raw = (
        [Intermediate(compare).loss(LossInputs(model, teacher, {}, BATCH))[0] for model in (student, shifted)]
        for compare in ("centred-scores", "scores")
    )
    np.testing.assert_allclose(centred[1], centred[0], rtol=1e-5)
    assert abs(raw[1] - raw[0]) > 0.1


def test_maps_and_widths_are_checked():
    with pytest.raises(UserError, match="2 layers do not divide the teacher's 3"):
        Intermediate(hidden_map="last").check(bert(2), bert(3))
    with pytest.raises(UserError, match="one teacher layer from 1 to 4"):
        Intermediate(hidden_map=(1, 5)).check(bert(2), bert(4))
    with pytest.raises(UserError, match=r"projection\.kind"):
        Intermediate(projection=Projection("none")).check(bert(2), bert(2, width=8))
    Intermediate(hidden_map="last", attention_map=(1, 3)).check(bert(2), bert(3))


def test_weights_are_not_negative():
    with pytest.raises(UserError, match="hidden_weight must be 0 or more, got -1"):
        Intermediate(hidden_weight=-1)


def test_something_is_compared():
    with pytest.raises(UserError, match=r"hidden_weight \+ attention_weight must be above 0, .* got 0"):
        Intermediate(hidden_weight=0, attention_weight=0)
    with pytest.raises(UserError, match="nothing is compared: heads are dropped, 2 and 4, and hidden_weight is 0"):
        Intermediate(hidden_weight=0, heads="drop").check(bert(2, 8, heads=2), bert(4, 8, heads=4))


# --- unlike numbers of heads -----------------------------------------------------------------------------------------


def test_unlike_heads_are_refused_by_default():
    with pytest.raises(UserError, match=r"as many heads, got 2 and 4; --stages\.0\.objective\.heads groups"):
        Intermediate().check(bert(2, heads=2), bert(4, heads=4))
    Intermediate(attention_weight=0.0).check(bert(2, heads=2), bert(4, heads=4))


@pytest.mark.parametrize("compare", ["scores", "centred-scores", "probabilities"])
@pytest.mark.parametrize("heads", [(2, 4), (4, 2)])
def test_groups_compare_means_over_heads(compare, heads):
    student, teacher = outputs(1, 8, 0, heads[0]), outputs(1, 8, 1, heads[1])
    objective = Intermediate(compare, heads="groups")
    objective.check(bert(1, 8, heads[0]), bert(1, 8, heads[1]))
    ours, theirs = (np.asarray(attention_of(compare, model, 1)) for model in (student, teacher))
    ours, theirs = (x.reshape(2, 2, -1, 5, 5).mean(2) for x in (ours, theirs))
    expected = losses.attention_mse(ours, theirs, BATCH.attention_mask)
    _, terms = objective.loss(LossInputs(student, teacher, {}, BATCH))
    np.testing.assert_allclose(terms["attention"], expected, rtol=1e-5)


def test_groups_need_a_divisor():
    with pytest.raises(UserError, match="where one number divides the other, got 4 and 6"):
        Intermediate(heads="groups").check(bert(2, 12, heads=4), bert(2, 12, heads=6))


@pytest.mark.parametrize("compare", ["scores", "centred-scores", "probabilities"])
def test_dropped_attention_is_said_once_and_weighs_nothing(compare):
    objective = Intermediate(compare, heads="drop")
    with pytest.warns(AttentionDroppedWarning, match="2 and 4 heads: the attention term is left out"):
        objective.check(bert(2, 8, heads=2), bert(4, 8, heads=4))
    student, teacher = outputs(2, 8, 0, 2), outputs(4, 8, 1, 4)
    loss, terms = objective.loss(LossInputs(student, teacher, {}, BATCH))
    assert (loss, terms["attention"]) == (terms["hidden"], 0)
    with warnings.catch_warnings():  # equal numbers are compared
        warnings.simplefilter("error")
        objective.check(bert(2, 8, heads=4), bert(4, 8, heads=4))
    assert objective.loss(LossInputs(outputs(2, 8, 0, 4), teacher, {}, BATCH))[1]["attention"] > 0

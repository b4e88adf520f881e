from dataclasses import replace
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tinybert_jax.distill import Finetune, Intermediate, Prediction, losses, uniform_layer_map
from tinybert_jax.errors import UserError
from tinybert_jax.model import BertConfig, Outputs


class Labels(NamedTuple):
    attention_mask: np.ndarray
    start: np.ndarray
    end: np.ndarray


BATCH = Labels(np.arange(5) < np.array([5, 3])[:, None], np.array([1, 0]), np.array([3, 2]))
HEADS = 2


def outputs(layers, width, seed):
    """Everything a forward could return, for the batch's (B, T) = (2, 5)."""
    rng = np.random.default_rng(seed)

    def normal(*shape):
        return jnp.asarray(rng.normal(size=shape), jnp.float32)

    return Outputs(
        logits=normal(2, 5, 2),
        hidden_states=normal(layers + 1, 2, 5, width),
        queries=normal(layers, 2, 5, HEADS, width // HEADS),
        keys=normal(layers, 2, 5, HEADS, width // HEADS),
        probabilities=jax.nn.softmax(normal(layers, 2, HEADS, 5, 5)),
    )


def bert(layers, width=4, heads=HEADS):
    return BertConfig(hidden_size=width, num_hidden_layers=layers, num_attention_heads=heads, intermediate_size=8)


# --- layer maps ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("student", "teacher", "expected"),
    [(6, 12, (2, 4, 6, 8, 10, 12)), (4, 12, (3, 6, 9, 12)), (3, 3, (1, 2, 3)), (1, 5, (5,))],
)
def test_uniform_layer_map(student, teacher, expected):
    assert uniform_layer_map(student, teacher) == expected
    assert Intermediate().resolve_layer_map(student, teacher) == expected


@pytest.mark.parametrize(("student", "teacher"), [(5, 12), (4, 2)])
def test_layers_that_do_not_divide_need_a_map(student, teacher):
    with pytest.raises(UserError, match=f"{student} layers do not divide the teacher's {teacher}: .*layer-map"):
        Intermediate().check(bert(student), bert(teacher))
    explicit = Intermediate(layer_map=tuple([1] * student))
    explicit.check(bert(student), bert(teacher))


@pytest.mark.parametrize("layer_map", [(1,), (1, 2, 3), (0, 4), (1, 5), ()])
def test_a_map_that_does_not_fit_is_refused(layer_map):
    with pytest.raises(UserError, match="one teacher layer from 1 to 4 for each of the student's 2 layers, got") as e:
        Intermediate(layer_map=layer_map).check(bert(2), bert(4))
    assert str(layer_map) in str(e.value)


def test_heads_must_be_as_many():
    with pytest.raises(UserError, match="as many heads, got 2 and 4"):
        Intermediate().check(bert(2, heads=2), bert(4, heads=4))
    Prediction().check(bert(2, heads=2), bert(4, heads=4))
    Finetune().check(bert(2, heads=2), bert(4, heads=4))


# --- the intermediate stage ------------------------------------------------------------------------------------------


def test_what_each_objective_asks_of_the_forward():
    assert Intermediate().attention == "scores"
    assert Intermediate(compare="probabilities").attention == "probabilities"
    assert Prediction().attention == Finetune().attention == "none"
    assert Intermediate().uses_teacher
    assert Prediction().uses_teacher
    assert not Finetune().uses_teacher


@pytest.mark.parametrize("layer_map", [None, (4, 1)])
@pytest.mark.parametrize("compare", ["scores", "probabilities"])
@pytest.mark.parametrize("student_width", [4, 6])
def test_intermediate_is_the_sum_of_its_parts(layer_map, compare, student_width):
    objective = Intermediate(compare, layer_map)
    student, teacher = outputs(2, student_width, seed=0), outputs(4, 4, seed=1)
    projection = objective.init_projection(jax.random.key(0), bert(2, student_width), bert(4, 4))
    loss, terms = objective.loss(student, teacher, projection, BATCH)

    mask, (first, second) = BATCH.attention_mask, layer_map or (2, 4)
    kernels = projection["kernel"] if student_width != 4 else (None, None, None)
    states = zip(student.hidden_states, teacher.hidden_states[jnp.array([0, first, second])], kernels, strict=True)
    hidden = sum(losses.hidden_mse(s, t, mask, kernel) for s, t, kernel in states)
    attention = 0
    for m, g in ((0, first - 1), (1, second - 1)):
        if compare == "probabilities":
            pair = student.probabilities[m], teacher.probabilities[g]
        else:
            pair = (losses.attention_scores(o.queries[i], o.keys[i]) for o, i in ((student, m), (teacher, g)))
        attention += losses.attention_mse(*pair, mask)
    np.testing.assert_allclose(terms["hidden"], hidden, rtol=1e-5)
    np.testing.assert_allclose(terms["attention"], attention, rtol=1e-5)
    np.testing.assert_allclose(loss, hidden + attention, rtol=1e-5)


@pytest.mark.parametrize("compare", ["scores", "probabilities"])
def test_a_student_equal_to_its_teacher_has_no_intermediate_loss(compare):
    teacher = outputs(3, 4, seed=1)
    loss, terms = Intermediate(compare).loss(teacher, teacher, {}, BATCH)
    assert loss == terms["hidden"] == terms["attention"] == 0


def test_a_projection_exists_only_where_widths_differ():
    objective, key = Intermediate(), jax.random.key(0)
    assert objective.init_projection(key, bert(2, 64), bert(4, 64)) == {}
    kernel = objective.init_projection(key, bert(2, 64), bert(4, 32))["kernel"]
    assert kernel.shape == (3, 64, 32)
    assert abs(np.std(kernel) - 64**-0.5) < 5 * 64**-0.5 / (2 * kernel.size) ** 0.5
    assert Prediction().init_projection(key, bert(2, 64), bert(4, 32)) == {}


# --- the prediction stage and fine-tuning ----------------------------------------------------------------------------


@pytest.mark.parametrize(("temperature", "weight"), [(1.0, 1.0), (1.0, 0.0), (2.0, 1.0), (3.0, 0.25)])
def test_prediction_weighs_soft_and_hard(temperature, weight):
    student, teacher = outputs(2, 4, seed=0), outputs(4, 4, seed=1)
    loss, terms = Prediction(temperature, weight).loss(student, teacher, {}, BATCH)
    mask = BATCH.attention_mask
    soft = losses.soft_cross_entropy(student.logits, teacher.logits, mask, temperature)
    hard = losses.span_cross_entropy(student.logits, BATCH.start, BATCH.end, mask)
    np.testing.assert_allclose(terms["soft"], soft, rtol=1e-6)
    np.testing.assert_allclose(terms["hard"], hard, rtol=1e-6)
    np.testing.assert_allclose(loss, weight * temperature**2 * soft + (1 - weight) * hard, rtol=1e-6)


def test_a_student_equal_to_its_teacher_has_no_prediction_gradient():
    teacher = outputs(2, 4, seed=1)

    def loss(logits):
        return Prediction(temperature=2.0).loss(teacher._replace(logits=logits), teacher, {}, BATCH)[0]

    np.testing.assert_allclose(jax.grad(loss)(teacher.logits), 0, atol=1e-6)


def test_finetune_is_the_hard_loss_and_reads_no_teacher():
    student = outputs(2, 4, seed=0)
    loss, terms = Finetune().loss(student, None, {}, BATCH)
    assert loss == losses.span_cross_entropy(student.logits, BATCH.start, BATCH.end, BATCH.attention_mask)
    assert terms == {}


@pytest.mark.parametrize(
    ("field", "value"), [("temperature", 0.0), ("temperature", -1.0), ("soft_weight", -0.1), ("soft_weight", 1.1)]
)
def test_prediction_settings_out_of_range_are_named(field, value):
    with pytest.raises(UserError, match=f"{field} must be .*, got {value}"):
        replace(Prediction(), **{field: value})

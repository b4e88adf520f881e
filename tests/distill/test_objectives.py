from dataclasses import replace
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tinybert_jax.distill import Finetune, Prediction, losses
from tinybert_jax.errors import UserError
from tinybert_jax.model import BertConfig, Outputs


class Labels(NamedTuple):
    attention_mask: np.ndarray
    start: np.ndarray
    end: np.ndarray


BATCH = Labels(np.arange(5) < np.array([5, 3])[:, None], np.array([1, 0]), np.array([3, 2]))


def outputs(seed):
    logits = np.random.default_rng(seed).normal(size=(2, 5, 2))
    return Outputs(jnp.asarray(logits, jnp.float32), hidden_states=())


def test_neither_stage_reads_attention_nor_minds_heads_and_widths():
    small = BertConfig(hidden_size=4, num_hidden_layers=2, num_attention_heads=2, intermediate_size=8)
    large = replace(small, hidden_size=8, num_attention_heads=4, num_hidden_layers=3)
    for objective in (Prediction(), Finetune()):
        objective.check(small, large)
        assert objective.attention == "none"
        assert objective.init_projection(jax.random.key(0), small, large) == {}
    assert Prediction().uses_teacher
    assert not Finetune().uses_teacher


@pytest.mark.parametrize("padding", ["masked", "counted"])
@pytest.mark.parametrize(("temperature", "weight"), [(1.0, 1.0), (1.0, 0.0), (2.0, 1.0), (3.0, 0.25)])
def test_prediction_weighs_soft_and_hard(temperature, weight, padding):
    student, teacher = outputs(0), outputs(1)
    loss, terms = Prediction(temperature, soft_weight=weight, padding=padding).loss(student, teacher, {}, BATCH)
    mask = losses.positions_of(BATCH.attention_mask, padding)
    soft = losses.soft_cross_entropy(student.logits, teacher.logits, mask, temperature)
    hard = losses.span_cross_entropy(student.logits, BATCH.start, BATCH.end, mask)
    np.testing.assert_allclose(terms["soft"], soft, rtol=1e-6)
    entropy = losses.soft_cross_entropy(teacher.logits, teacher.logits, mask, temperature)
    np.testing.assert_allclose(terms["kl"], soft - entropy, rtol=1e-5)
    np.testing.assert_allclose(terms["hard"], hard, rtol=1e-6)
    np.testing.assert_allclose(loss, weight * temperature**2 * soft + (1 - weight) * hard, rtol=1e-6)


def test_a_student_equal_to_its_teacher_has_no_prediction_gradient():
    teacher = outputs(1)

    def loss(logits):
        return Prediction(temperature=2.0).loss(teacher._replace(logits=logits), teacher, {}, BATCH)[0]

    np.testing.assert_allclose(jax.grad(loss)(teacher.logits), 0, atol=1e-6)


def test_a_scheduled_temperature_goes_linearly_and_stays():
    objective = Prediction(temperature=4.0, final_temperature=1.0, annealing_steps=10)
    assert [float(objective.temperature_at(step)) for step in (0, 5, 10, 99)] == [4.0, 2.5, 1.0, 1.0]
    scheduled = jax.jit(lambda step: objective.loss(outputs(0), outputs(1), {}, BATCH, step)[0])
    for step, temperature in ((0, 4.0), (5, 2.5), (50, 1.0)):
        constant = Prediction(temperature).loss(outputs(0), outputs(1), {}, BATCH)[0]
        np.testing.assert_allclose(scheduled(step), constant, rtol=1e-6)


def test_a_cache_serves_where_only_real_tokens_are_read_and_the_teacher_is_still():
    assert Prediction().reads_cache
    assert not Prediction(padding="counted").reads_cache
    assert not Prediction(teacher_dropout=True).reads_cache
    assert not Finetune().reads_cache


def test_finetune_is_the_hard_loss_and_reads_no_teacher():
    student = outputs(0)
    loss, terms = Finetune().loss(student, None, {}, BATCH)
    assert loss == losses.span_cross_entropy(student.logits, BATCH.start, BATCH.end, BATCH.attention_mask)
    assert terms == {}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("temperature", 0.0),
        ("temperature", -1.0),
        ("final_temperature", 0.0),
        ("annealing_steps", 0),
        ("soft_weight", -0.1),
        ("soft_weight", 1.1),
        ("head_dropout", 1.0),
    ],
)
def test_prediction_settings_out_of_range_are_named(field, value):
    with pytest.raises(UserError, match=f"{field} must be .*, got {value}"):
        replace(Prediction(), **{field: value})

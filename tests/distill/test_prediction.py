from dataclasses import replace
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tinybert_jax.distill import LossInputs, Prediction, losses
from tinybert_jax.errors import UserError
from tinybert_jax.model import Outputs


class Labels(NamedTuple):
    attention_mask: np.ndarray
    start: np.ndarray
    end: np.ndarray


BATCH = Labels(np.arange(5) < np.array([5, 3])[:, None], np.array([1, 0]), np.array([3, 2]))


def outputs(seed):
    logits = np.random.default_rng(seed).normal(size=(2, 5, 2))
    return Outputs(jnp.asarray(logits, jnp.float32), hidden_states=())


@pytest.mark.parametrize("padding", ["masked", "counted"])
@pytest.mark.parametrize(("temperature", "weight"), [(1.0, 1.0), (1.0, 0.0), (2.0, 1.0), (3.0, 0.25)])
def test_prediction_weighs_soft_and_hard(temperature, weight, padding):
    student, teacher = outputs(0), outputs(1)
    objective = Prediction(temperature, soft_weight=weight, padding=padding)
    loss, terms = objective.loss(LossInputs(student, teacher, {}, BATCH))
    mask = losses.positions_of(BATCH.attention_mask, padding)
    soft = losses.soft_cross_entropy(student.logits, teacher.logits, mask, temperature)
    hard = losses.span_cross_entropy(student.logits, BATCH.start, BATCH.end, mask)
    np.testing.assert_allclose(terms["soft"], soft, rtol=1e-6)
    entropy = losses.soft_cross_entropy(teacher.logits, teacher.logits, mask, temperature)
    np.testing.assert_allclose(terms["kl"], soft - entropy, rtol=1e-5)
    np.testing.assert_allclose(terms["hard"], hard, rtol=1e-6)
    np.testing.assert_allclose(loss, weight * temperature**2 * soft + (1 - weight) * hard, rtol=1e-6)


def test_the_soft_share_may_go_without_the_square_of_the_temperature():
    inputs = LossInputs(outputs(0), outputs(1), {}, BATCH)
    loss, terms = Prediction(3.0, soft_weight=0.25, scale_by_temperature=False).loss(inputs)
    np.testing.assert_allclose(loss, 0.25 * terms["soft"] + 0.75 * terms["hard"], rtol=1e-6)


def test_the_null_score_is_a_term_of_its_own_on_top_and_is_not_computed_without_weight():
    inputs = LossInputs(outputs(0), outputs(1), {}, BATCH)
    without, terms = Prediction(2.0, soft_weight=0.5).loss(inputs)
    total, more = Prediction(2.0, soft_weight=0.5, null_weight=3.0).loss(inputs)
    null = losses.null_cross_entropy(inputs.student.logits, inputs.teacher.logits, BATCH.attention_mask)
    assert set(more) - set(terms) == {"null"}
    np.testing.assert_allclose(more["null"], null, rtol=1e-6)
    np.testing.assert_allclose(total, without + 3 * null, rtol=1e-6)
    assert Prediction(null_weight=3.0).reads_cache


def test_a_student_equal_to_its_teacher_has_no_prediction_gradient():
    teacher = outputs(1)

    def loss(logits):
        return Prediction(temperature=2.0, null_weight=1.0).loss(
            LossInputs(teacher._replace(logits=logits), teacher, {}, BATCH)
        )[0]

    np.testing.assert_allclose(jax.grad(loss)(teacher.logits), 0, atol=1e-6)


def test_a_cache_serves_where_only_real_tokens_are_read_and_the_teacher_is_still():
    assert Prediction().reads_cache
    assert not Prediction(padding="counted").reads_cache
    assert not Prediction(teacher_dropout=True).reads_cache


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("temperature", 0.0),
        ("temperature", -1.0),
        ("soft_weight", -0.1),
        ("soft_weight", 1.1),
        ("null_weight", -0.1),
        ("head_dropout", 1.0),
    ],
)
def test_prediction_settings_out_of_range_are_named(field, value):
    with pytest.raises(UserError, match=f"{field} must be .*, got {value}"):
        replace(Prediction(), **{field: value})

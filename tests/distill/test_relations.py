from dataclasses import replace
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tinybert_jax.distill import LossInputs, Relations
from tinybert_jax.distill.relation_kl import relation_kl
from tinybert_jax.errors import UserError
from tinybert_jax.model import BertConfig, Outputs


class Labels(NamedTuple):
    attention_mask: np.ndarray


BATCH = Labels(np.arange(5) < np.array([5, 3])[:, None])
SMALL = BertConfig(hidden_size=12, num_hidden_layers=2, num_attention_heads=2, intermediate_size=8)
LARGE = replace(SMALL, hidden_size=18, num_hidden_layers=4, num_attention_heads=3)


def outputs(config, seed):
    rng = np.random.default_rng(seed)
    shape = (config.num_hidden_layers, 2, 5, config.num_attention_heads, config.head_size)

    def by_layer():
        return tuple(jnp.asarray(rng.normal(size=shape), jnp.float32))

    return Outputs(jnp.zeros((2, 5, 2)), (), by_layer(), by_layer(), by_layer())


@pytest.mark.parametrize(
    ("objective", "heads", "layers"),
    [(Relations(), 6, (2, 4)), (Relations(heads=2, student_layer=1, teacher_layer=3), 2, (1, 3))],
    ids=["defaults", "chosen"],
)
def test_the_loss_is_the_sum_over_queries_keys_and_values(objective, heads, layers):
    student, teacher = outputs(SMALL, 0), outputs(LARGE, 1)
    loss, terms = objective.loss(LossInputs(student, teacher, {}, BATCH))
    for name in ("queries", "keys", "values"):
        ours, theirs = (
            getattr(model, name)[layer - 1].reshape(2, 5, heads, -1)
            for model, layer in zip((student, teacher), layers, strict=True)
        )
        np.testing.assert_allclose(terms[name], relation_kl(ours, theirs, BATCH.attention_mask), rtol=1e-6)
    np.testing.assert_allclose(loss, sum(terms.values()), rtol=1e-6)


def test_a_student_equal_to_its_teacher_has_no_loss():
    teacher = outputs(LARGE, 1)
    assert Relations().loss(LossInputs(teacher, teacher, {}, BATCH))[0] == 0


def test_by_default_there_are_as_many_heads_as_divide_both_widths_up_to_48():
    mask = np.ones((1, 2), bool)

    def heads(student_width, teacher_width):
        models = [Outputs(jnp.zeros(0), (), *((jnp.ones((1, 2, 1, w)),),) * 3) for w in (student_width, teacher_width)]
        jaxpr = jax.make_jaxpr(lambda: Relations().loss(LossInputs(*models, {}, Labels(mask))))()
        return next(int(found) for found in (48, 32, 24, 6) if f"f32[1,{found},2,2]" in str(jaxpr))

    assert [heads(384, 768), heads(312, 768), heads(384, 1024), heads(12, 18)] == [48, 24, 32, 6]


def test_what_is_asked_of_the_models():
    assert Relations().attention == "relations"
    assert not Relations().reads_cache
    assert Relations().init_projection(jax.random.key(0), SMALL, LARGE) == {}
    assert Relations().describe(SMALL, LARGE) == "2 ← 4"
    assert Relations(student_layer=1, teacher_layer=3).describe(SMALL, LARGE) == "1 ← 3"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"heads": 4}, r"must divide both models' widths, got 4 for 12 and 18 units: leave heads out, for 6"),
        ({"student_layer": 3}, "student_layer must be one of the student's 2 layers, got 3"),
        ({"teacher_layer": 5}, "teacher_layer must be one of the teacher's 4 layers, got 5"),
    ],
    ids=["heads", "student", "teacher"],
)
def test_what_the_models_do_not_have_is_refused(settings, message):
    with pytest.raises(UserError, match=message):
        Relations(**settings).check(SMALL, LARGE)
    Relations(heads=3, student_layer=2, teacher_layer=4).check(SMALL, LARGE)


@pytest.mark.parametrize("field", ["heads", "student_layer", "teacher_layer"])
def test_numbers_count_from_1(field):
    with pytest.raises(UserError, match=f"{field} must be at least 1, got 0"):
        Relations(**{field: 0})

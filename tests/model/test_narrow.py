"""Narrower students: which parts of the teacher they keep, that these compute what they did, and what is refused."""

import dataclasses

import jax
import numpy as np
import pytest

from tinybert_jax.errors import UserError
from tinybert_jax.model import BertForQuestionAnswering, Model, init_params, narrow_student


def teacher_of(config, random_params, **changes):
    config = dataclasses.replace(config, num_attention_heads=4, **changes)
    return Model(config, random_params(BertForQuestionAnswering(config), 7))


@pytest.fixture(scope="module")
def teacher(config, random_params):
    """16 units, 4 heads of 4, 24 neurons."""
    return teacher_of(config, random_params)


FAMILIES = {
    "bert": {},
    "roberta": {"model_type": "roberta", "pad_token_id": 1},
    "distilbert": {"model_type": "distilbert", "type_vocab_size": 0},
    "electra": {"model_type": "electra", "embedding_size": 6},
}


@pytest.mark.parametrize("family", FAMILIES)
def test_a_student_has_the_parameters_of_its_shape(config, random_params, family):
    teacher = teacher_of(config, random_params, **FAMILIES[family])
    student = narrow_student(teacher, 8, 2)
    shape = {"hidden_size": 8, "num_attention_heads": 2, "intermediate_size": 12}
    assert student.config == dataclasses.replace(teacher.config, **shape)
    expected = jax.eval_shape(lambda key: init_params(student.network, key), jax.random.key(0))
    assert jax.tree.map(np.shape, student.params) == jax.tree.map(lambda leaf: leaf.shape, dict(expected))


def test_a_student_of_the_teacher_s_shape_is_the_teacher(teacher):
    for student in (narrow_student(teacher, 16), narrow_student(teacher, 16, 4)):
        assert student.config == teacher.config
        assert jax.tree.all(jax.tree.map(np.array_equal, student.params, teacher.params))


UNITS = [1, 2, 5, 6, 9, 10, 13, 15]


@pytest.fixture
def weighted(teacher):
    """A teacher in which it is plain what weighs most, in its first layer."""
    params = jax.tree.map(np.copy, teacher.params)
    layer = params["bert"]["encoder"]["layer"]["0"]
    layer["output"]["LayerNorm"]["scale"][UNITS[::2]] *= -10
    params["bert"]["encoder"]["layer"]["1"]["attention"]["output"]["LayerNorm"]["scale"][UNITS[1::2]] *= 20
    layer["attention"]["self"]["value"]["kernel"][:, 4:12] *= 10  # heads 1 and 2
    layer["attention"]["self"]["key"]["kernel"][:, [5, 7, 8, 9]] *= 10
    layer["intermediate"]["dense"]["kernel"][:, ::2] *= 10
    return Model(teacher.config, params)


def test_what_weighs_most_is_kept_as_it_is(weighted):
    student = narrow_student(weighted, 8)
    assert student.config.num_attention_heads == 2  # of 4 units, as the teacher's
    ours, theirs = (model.params["bert"]["encoder"]["layer"]["0"] for model in (student, weighted))
    columns = range(4, 12)
    for name in ("query", "key", "value"):
        mine, other = ours["attention"]["self"][name], theirs["attention"]["self"][name]
        np.testing.assert_array_equal(mine["kernel"], other["kernel"][np.ix_(UNITS, columns)])
        np.testing.assert_array_equal(mine["bias"], other["bias"][columns])
    mine, other = ours["attention"]["output"], theirs["attention"]["output"]
    np.testing.assert_array_equal(mine["dense"]["kernel"], other["dense"]["kernel"][np.ix_(columns, UNITS)])
    np.testing.assert_array_equal(mine["LayerNorm"]["scale"], other["LayerNorm"]["scale"][UNITS])
    neurons = range(0, 24, 2)
    kernels = [part["intermediate"]["dense"]["kernel"] for part in (ours, theirs)]
    np.testing.assert_array_equal(kernels[0], kernels[1][np.ix_(UNITS, neurons)])
    kernels = [part["output"]["dense"]["kernel"] for part in (ours, theirs)]
    np.testing.assert_array_equal(kernels[0], kernels[1][np.ix_(neurons, UNITS)])
    tables = [model.params["bert"]["embeddings"]["position_embeddings"]["embedding"] for model in (student, weighted)]
    np.testing.assert_array_equal(tables[0], tables[1][:, UNITS])
    heads = [model.params["qa_outputs"]["kernel"] for model in (student, weighted)]
    np.testing.assert_array_equal(heads[0], heads[1][UNITS])


def test_narrower_heads_score_by_the_units_that_they_keep(weighted):
    student = narrow_student(weighted, 4, heads=2)  # of 2 units: 5 and 7 of head 1, 8 and 9 of head 2
    scores = []
    for model, columns in ((student, [[0, 1], [2, 3]]), (weighted, [[5, 7], [8, 9]])):
        own = model.params["bert"]["encoder"]["layer"]["0"]["attention"]["self"]
        query, key = (np.vstack([own[name]["kernel"], own[name]["bias"]]) for name in ("query", "key"))
        scores.append([query[:, c] @ key[:, c].T / model.config.head_size**0.5 for c in columns])
    rows = [*UNITS[1::2], 16]
    np.testing.assert_allclose(scores[0], np.array(scores[1])[:, rows][:, :, rows], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(
    ("width", "heads", "message"),
    [
        (17, None, "width of the student must be 1 to its teacher's 16, got 17"),
        (0, 1, "width of the student must be 1 to its teacher's 16, got 0"),
        (
            10,
            None,
            "must be a multiple of 4, the units of a teacher's head, where .* is not given, got 10",
        ),
        (12, None, "heads of the student must be a divisor of its teacher's 4, got 3"),
        (8, 3, "heads of the student must be a divisor of its width 8, got 3"),
        (8, 0, "heads of the student must be a divisor of its width 8, got 0"),
        (12, 2, "can be of 4 units at most, as its teacher's are, got 2 heads for a width of 12"),
    ],
)
def test_shapes_that_cannot_be_had_are_refused(teacher, width, heads, message):
    with pytest.raises(UserError, match=message):
        narrow_student(teacher, width, heads)


def test_layers_as_wide_as_embeddings_that_are_projected_are_refused(config, random_params):
    """transformers has no projection between equal widths, and would pass over the student's."""
    teacher = teacher_of(config, random_params, model_type="electra", embedding_size=8)
    with pytest.raises(UserError, match=r"width of the student must be other than that of the embeddings, .* got 8"):
        narrow_student(teacher, 8, 2)

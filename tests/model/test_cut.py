"""Students made of parts of their teacher: which layers, with whose weights, and what is refused."""

import dataclasses

import jax
import numpy as np
import pytest

from tinybert_jax.distill import resolve_layer_map
from tinybert_jax.errors import UserError
from tinybert_jax.model import BertForQuestionAnswering, Model, cut_student, forward, layers_of, trim_vocabulary


@pytest.mark.parametrize(
    ("chosen", "layers", "expected"),
    [
        ("6", 12, (1, 3, 5, 7, 9, 11)),
        ("4", 12, (2, 5, 8, 11)),
        ("1", 12, (11,)),
        ("12", 12, tuple(range(12))),
        ("0,2,4,7,9,11", 12, (0, 2, 4, 7, 9, 11)),
        ("3, 1", 4, (3, 1)),
        ("3,", 4, (3,)),
        ("half", 12, (1, 3, 5, 7, 9, 11)),
        ("half", 6, (1, 3, 5)),
        ("half", 1, (0,)),
        ("first", 12, (0, 1, 2, 3, 4, 5)),
        ("last", 12, (6, 7, 8, 9, 10, 11)),
        ("last", 5, (3, 4)),
        ("first", 1, (0,)),
        ("first:4", 12, (0, 1, 2, 3)),
        ("last:4", 12, (8, 9, 10, 11)),
    ],
)
def test_layers_by_their_choice(chosen, layers, expected):
    assert layers_of(chosen, layers) == expected


@pytest.mark.parametrize("count", [1, 2, 3, 4, 6, 12])
def test_evenly_spaced_layers_are_those_that_the_uniform_map_compares(count):
    assert tuple(layer + 1 for layer in layers_of(str(count), 12)) == resolve_layer_map("uniform", count, 12)
    assert tuple(layer + 1 for layer in layers_of(f"last:{count}", 12)) == resolve_layer_map("last", count, 12)


def test_half_of_an_odd_number_of_layers_is_refused():
    with pytest.raises(UserError, match=r"must divide its 5 to be evenly spaced, got 2: name the layers yourself"):
        layers_of("half", 5)


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ("5", r"must divide its 6 to be evenly spaced, got 5: name the layers yourself"),
        ("7", r"must be 1 to 6, got 7"),
        ("0", r"must be 1 to 6, got 0"),
        ("first:7", r"must be 1 to 6, got first:7"),
        ("0,6", r"must be from 0 to 5, as it has 6, got 0,6"),
        ("middle", r"must be a number .*, got 'middle'"),
        ("half:4", r"must be a number .*, got 'half:4'"),
        ("-2", r"must be a number .*, got '-2'"),
        ("", r"must be a number .*, got ''"),
        ("first4", r"must be a number .*, got 'first4'"),
        ("1,,2", r"must be a number .*, got '1,,2'"),
    ],
)
def test_layers_that_the_teacher_does_not_have_are_refused(chosen, message):
    with pytest.raises(UserError, match=message):
        layers_of(chosen, 6)


@pytest.fixture(scope="module")
def teacher(config, random_params):
    config = dataclasses.replace(config, num_hidden_layers=3)
    return Model(config, random_params(BertForQuestionAnswering(config), 5))


def test_a_student_is_its_teacher_without_some_layers(teacher, batch):
    student = cut_student(teacher, [0, 1])
    outputs, theirs = (forward(model.network, model.params, batch) for model in (student, teacher))
    assert len(outputs.hidden_states) == 3
    for ours, other in zip(outputs.hidden_states, theirs.hidden_states, strict=False):
        np.testing.assert_array_equal(ours, other)
    whole = cut_student(teacher, [0, 1, 2])
    assert jax.tree.all(jax.tree.map(np.array_equal, whole.params, teacher.params))


def test_layers_come_in_the_order_that_is_asked_for(teacher):
    stack = cut_student(teacher, [2, 0]).params["bert"]["encoder"]["layer"]
    theirs = teacher.params["bert"]["encoder"]["layer"]
    assert set(stack) == {"0", "1"}
    assert stack["0"] is theirs["2"]
    assert stack["1"] is theirs["0"]


@pytest.mark.parametrize("model_type", ["bert", "roberta"])
def test_a_shorter_position_table_changes_no_shorter_row(config, batch, random_params, model_type):
    config = dataclasses.replace(config, model_type=model_type, pad_token_id=1)
    teacher = Model(config, random_params(BertForQuestionAnswering(config), 6))
    student = cut_student(teacher, [0, 1], positions=8)
    assert student.config.max_positions == 8
    ours, theirs = (forward(model.network, model.params, batch).logits for model in (student, teacher))
    np.testing.assert_array_equal(ours, theirs)
    with pytest.raises(UserError, match=f"must be 1 to {config.max_positions}, got 17"):
        cut_student(teacher, [0, 1], positions=17)


@pytest.mark.parametrize("layers", [[], [3], [-1, 0]])
def test_cut_student_refuses_layers_by_their_numbers(teacher, layers):
    with pytest.raises(UserError, match=r"must be one or more from 0 to 2, got \("):
        cut_student(teacher, layers)


@pytest.mark.parametrize("model_type", ["bert", "roberta"])
def test_a_trimmed_vocabulary_changes_nothing_in_the_tokens_that_stay(config, batch, random_params, model_type):
    config = dataclasses.replace(config, model_type=model_type, pad_token_id=1)
    teacher = Model(config, random_params(BertForQuestionAnswering(config), 6))
    kept = np.union1d(batch.input_ids, [0, 1])
    student = trim_vocabulary(teacher, kept)
    assert (student.config.vocab_size, student.config.pad_token_id) == (len(kept), 1)
    renumbered = batch._replace(input_ids=np.searchsorted(kept, batch.input_ids).astype(np.int32))
    theirs = forward(teacher.network, teacher.params, batch).logits
    np.testing.assert_array_equal(forward(student.network, student.params, renumbered).logits, theirs)
    for missing in ([0, 2, 3], *([[1, 2]] if model_type == "roberta" else [])):
        with pytest.raises(UserError, match="must hold the padding token's id 1"):
            trim_vocabulary(teacher, np.array(missing))

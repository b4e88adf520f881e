"""Questions a line: what is wrong with one is said of that line, and those for training hold together."""

import gzip
import json

import pytest

from tinybert_jax.data import Example, read_squad
from tinybert_jax.data.question_lines import Counts, check_questions, read_questions
from tinybert_jax.errors import UserError


def write(path, *lines):
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def question(name, context="a xz", text="q", **more):
    return json.dumps({"id": name, "question": text, "context": context, **more})


def test_lines_are_checked_before_anything_is_made_of_them(tmp_path):
    good = [question(i) for i in range(5)]
    source = write(tmp_path / "in.jsonl", "no json", *good[:3], "", question("e", context=" "), *good[3:], "no json")
    assert check_questions(source, skip_bad=True) == Counts(8, 3)
    with pytest.raises(UserError, match=r"in\.jsonl, line 1: not valid JSON.*--skip-bad"):
        check_questions(source, skip_bad=False)
    squad = write(tmp_path / "squad.jsonl", json.dumps({"version": "v2.0", "data": []}, indent=1))
    with pytest.raises(UserError, match=r'squad\.jsonl, line 1: .* each line is one \{"id", "question", "context"\}'):
        check_questions(squad, skip_bad=False)
    with pytest.raises(UserError, match="holds no question"):
        check_questions(write(tmp_path / "empty.jsonl", "", " "), skip_bad=False)
    with pytest.raises(UserError, match="cannot read"):
        check_questions(tmp_path / "missing.jsonl", skip_bad=False)


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("[]", "must be a JSON object, got list"),
        ('{"question": "q", "context": "c"}', '"id" must be a text or a whole number, got None'),
        ('{"id": true, "question": "q", "context": "c"}', '"id" must be'),
        ('{"id": 1, "context": "c"}', "question 1: the question must be a text that is not empty, got None"),
        ('{"id": 1, "question": "q", "context": []}', "got an empty list"),
        ('{"id": 1, "question": "q", "context": ["c", 2]}', "the context must be a text"),
        ('{"id": 1, "question": "q\\ud800", "context": "c"}', "not valid Unicode"),
        ("[" * 100_000, "not valid JSON"),
        ("\x00", "not valid JSON"),
    ],
    ids=range(9),
)
def test_what_is_wrong_with_a_line(tmp_path, line, error):
    (found,) = read_questions(write(tmp_path / "in.jsonl", line))
    assert error in found.error
    assert found.line == 1


def test_questions_without_labels_are_examples(tmp_path):
    lines = question(1, "Kraków is old.", "Is it?", more=2), "", question("b", "Kraków is old.", "What?")
    source = write(tmp_path / "in.jsonl", *lines)
    expected = [
        Example("1", "Is it?", "Kraków is old.", (), is_labelled=False),
        Example("b", "What?", "Kraków is old.", (), is_labelled=False),
    ]
    examples = read_squad(source)
    assert examples == expected
    assert examples[0].context is examples[1].context
    assert not any(example.is_impossible for example in examples)
    (tmp_path / "in.jsonl.gz").write_bytes(gzip.compress(source.read_bytes()))
    assert read_squad(tmp_path / "in.jsonl.gz") == expected


@pytest.mark.parametrize(
    ("line", "error"),
    [
        (question("b", context=["one", "two"]), 'line 2: "context" must be one text here, got a list'),
        (question("b", answers=[]), 'line 2 has "answers", and a .jsonl file is of questions without'),
        (question("b", text=" "), "line 2: question 'b': the question must be a text"),
        (question(1), "every question needs an id of its own, 1 repeat: '1'"),
        ("{", "line 2: not valid JSON"),
    ],
    ids=["contexts", "answers", "empty", "id", "json"],
)
def test_lines_that_cannot_be_trained_on(tmp_path, line, error):
    with pytest.raises(UserError) as raised:
        read_squad(write(tmp_path / "in.jsonl", question("1"), line))
    assert error in str(raised.value)


def test_damaged_gzip_is_one_line(tmp_path):
    (tmp_path / "in.jsonl.gz").write_bytes(gzip.compress(question("a").encode() * 100)[:-20])
    with pytest.raises(UserError, match="damaged gzip file"):
        read_squad(tmp_path / "in.jsonl.gz")

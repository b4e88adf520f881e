import sys
import types
from typing import Any

import pytest

from tinybert_jax.data import Answer, Example, read_squad
from tinybert_jax.errors import UserError

CONTEXT = "Zoë found 3 naïve mice in Kraków. The mice were white."


def hub_row(id_="q1", texts=("Kraków",), starts=(26,), **fields):
    golds = {"text": list(texts), "answer_start": list(starts)}
    return {"id": id_, "title": "T", "context": CONTEXT, "question": "Where?", "answers": golds, **fields}


@pytest.fixture
def hub(monkeypatch):
    """A stand-in for `datasets`: its load_dataset returns `rows`, or raises them."""
    fake: Any = types.ModuleType("datasets")
    fake.exceptions = exceptions = types.ModuleType("datasets.exceptions")
    vars(exceptions)["DatasetsError"] = type("DatasetsError", (Exception,), {})
    fake.calls = []

    def load_dataset(name, split):
        fake.calls.append((name, split))
        if isinstance(fake.rows, Exception):
            raise fake.rows
        return fake.rows

    fake.load_dataset = load_dataset
    monkeypatch.setitem(sys.modules, "datasets", fake)
    monkeypatch.setitem(sys.modules, "datasets.exceptions", fake.exceptions)
    return fake


def test_reads_a_hub_data_set(hub):
    hub.rows = [hub_row(), hub_row("q2", (), (), context="".join(list(CONTEXT)))]
    first, second = read_squad("rajpurkar/squad_v2:validation")
    assert hub.calls == [("rajpurkar/squad_v2", "validation")]
    assert first == Example("q1", "Where?", CONTEXT, (Answer("Kraków", 26),), "T")
    assert second.is_impossible
    assert second.context is first.context


def test_integer_ids_become_strings(hub):
    hub.rows = [hub_row(7), hub_row("8")]
    assert [example.id for example in read_squad("a/b:c")] == ["7", "8"]


def test_answers_may_be_a_list_of_their_own(hub):
    hub.rows = [hub_row(answers=[{"text": "Kraków", "answer_start": 26}])]
    assert read_squad("a/b:c")[0].answers == (Answer("Kraków", 26),)


def test_scoring_needs_no_offsets(hub):
    hub.rows = [hub_row(starts=(3,)), hub_row("q2", answers={"text": ["Kraków"]})]
    examples = read_squad("a/b:c", check_offsets=False)
    assert [example.answers for example in examples] == [(Answer("Kraków", 3),), (Answer("Kraków", -1),)]
    hub.rows = [hub_row(starts=())]
    with pytest.raises(UserError, match="got 1 and 0"):
        read_squad("a/b:c", check_offsets=False)


def test_hub_faults_are_user_errors(hub):
    for rows, message in (
        (ValueError("Unknown split"), "cannot load hub data set a/b:c: Unknown split"),
        (hub.exceptions.DatasetsError("defunct"), "cannot load hub data set a/b:c: defunct"),
        ([{"text": "x"}], "a/b:c, row 0 has no 'id'"),
        ([{"id": "x", "question": "?"}], "a/b:c, row 0 has no 'context'"),
        ([hub_row(starts=(3,))], "a/b:c, row 0, question 'q1': the answer 'Kraków'"),
        ([hub_row(starts=(26, 3))], "row 0.answers: every text needs an answer_start, .* got 1 and 2"),
        ([hub_row(texts=("Kraków", "mice"))], "row 0.answers: every text .* got 2 and 1"),
        ([hub_row(texts=(), starts=(26,))], "row 0.answers: every text .* got 0 and 1"),
        ([hub_row(starts=("26",))], r"row 0.answers\[0\]: 'answer_start' must be of type int, got '26'"),
        ([hub_row(answers=None)], "row 0: 'answers' must be of type list or dict, got None"),
        ([hub_row(question="\ud800")], "row 0: 'question' is not valid Unicode"),
        ([hub_row(is_impossible=True)], "row 0, question 'q1': is_impossible is true, yet it has 1 answers"),
        ([hub_row(title=None)], "row 0: 'title' must be of type str, got None"),
        ([hub_row(7), hub_row("7")], "a/b:c: every question needs an id of its own, 1 repeat: '7'"),
        ([], "a/b:c holds no question"),
    ):
        hub.rows = rows
        with pytest.raises(UserError, match=message):
            read_squad("a/b:c")

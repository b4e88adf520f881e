import gzip
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tinybert_jax.data import Example, GoldAnswer, read_squad
from tinybert_jax.errors import UserError

CONTEXT = "Zoë found 3 naïve mice in Kraków. The mice were white."


def question(id_: object = "q1", answers=(("Kraków", 26),), **fields):
    golds = [{"text": text, "answer_start": start} for text, start in answers]
    return {"id": id_, "question": "Where?", "answers": golds, **fields}


def squad(*questions, **article):
    return {"version": "v2.0", "data": [{"paragraphs": [{"context": CONTEXT, "qas": questions}], **article}]}


@pytest.fixture
def write(tmp_path):
    def write(content, name="squad.json"):
        path = tmp_path / name
        if not isinstance(content, bytes):
            content = json.dumps(content).encode()
        path.write_bytes(content)
        return path

    return write


def test_reads_answerable_and_impossible_questions(write):
    path = write(
        squad(
            question("a", [("Kraków", 26), ("in Kraków", 23)], is_impossible=False),
            question("b", [], is_impossible=True, plausible_answers=[{"text": "mice", "answer_start": 16}]),
            title="Mice",
        )
    )
    assert read_squad(path) == [
        Example("a", "Where?", CONTEXT, (GoldAnswer("Kraków", 26), GoldAnswer("in Kraków", 23)), "Mice"),
        Example("b", "Where?", CONTEXT, (), "Mice"),
    ]
    assert [example.is_impossible for example in read_squad(str(path))] == [False, True]


def test_squad_1_has_neither_is_impossible_nor_need_of_a_title(write):
    (example,) = read_squad(write(squad(question())))
    assert (example.title, example.is_impossible) == ("", False)


def test_reads_gzip_and_a_byte_order_mark(write):
    content = json.dumps(squad(question()), ensure_ascii=False)
    plain = read_squad(write(squad(question())))
    assert read_squad(write(gzip.compress(content.encode()), "squad.json.gz")) == plain
    assert read_squad(write(gzip.compress(content.encode()), "gzip_without_suffix")) == plain
    assert read_squad(write(content.encode("utf-8-sig"))) == plain


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_reads_the_other_encodings_of_json(write, encoding, pack):
    content = json.dumps(squad(question()), ensure_ascii=False).encode(encoding)
    assert read_squad(write(pack(content))) == read_squad(write(squad(question())))


@pytest.mark.parametrize("depth", [*range(900, 1000, 10), *range(1500, 60_000, 9_000)])
def test_values_nested_deeply_are_refused(write, depth):
    nested = b"[" * depth + b"]" * depth
    with pytest.raises(UserError, match=r"data\[0\] must be an object|nested too deeply"):
        read_squad(write(b'{"data": ' + nested + b"}"))


def test_integer_ids_become_strings(write):
    assert [example.id for example in read_squad(write(squad(question(7), question("8"))))] == ["7", "8"]


def test_scoring_needs_no_offsets(write):
    bare = question("b", [])
    bare["answers"] = [{"text": "Kraków"}]
    path = write(squad(question("a", [("Kraków", 5)]), bare))
    examples = read_squad(path, check_offsets=False)
    assert [example.answers for example in examples] == [(GoldAnswer("Kraków", 5),), (GoldAnswer("Kraków", -1),)]
    with pytest.raises(UserError):
        read_squad(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not valid JSON"),
        (b'{"data": [', "not valid JSON"),
        (b"\xff\xfe\xfa", "not valid JSON"),
        (b"[" * 100_000, "not valid JSON"),
        (gzip.compress(b'{"data": []}', mtime=0)[:-9], "damaged gzip"),
        (b"\x1f\x8b not gzip", "damaged gzip"),
        (b"[1, 2]", "is a list of rows, not SQuAD's layout"),
        (b"12", "top level must be an object with the key 'data', got 12"),
        (b'{"question": []}', "top level has no 'data'"),
        (b'{"data": {}}', "'data' must be of type list, got {}"),
        (b'{"data": [5]}', "data[0] must be an object"),
        (b'{"data": [{"paragraphs": [{"qas": []}]}]}', "data[0].paragraphs[0] has no 'context'"),
        (b'{"data": [{"paragraphs": [{"context": "x"}]}]}', "data[0].paragraphs[0] has no 'qas'"),
        (squad({"question": "?", "answers": []}), "data[0].paragraphs[0].qas[0] has no 'id'"),
        (squad(question("a"), question(True)), "qas[1]: 'id' must be of type str or int, got True"),
        (squad(question("a"), question(None)), "qas[1]: 'id' must be of type str or int, got None"),
        (squad(question(question=["?"])), "'question' must be of type str, got ['?']"),
        (squad({"id": "a", "question": "?"}), "qas[0] has no 'answers'"),
        (squad(question(answers=[("Kraków", "26")])), "answers[0]: 'answer_start' must be of type int"),
        (squad(question(answers=[("Kraków", True)])), "answers[0]: 'answer_start' must be of type int, got True"),
        (squad(question(is_impossible="no")), "'is_impossible' must be of type bool"),
        (squad(question(question="\ud800")), "not valid Unicode"),
        (squad(question(), title=3), "'title' must be of type str, got 3"),
        ({"data": []}, "holds no question"),
        (squad(), "holds no question"),
        (squad(question("a"), question("b"), question("a")), "1 repeat: 'a'"),
        (squad(*[question(str(i // 2)) for i in range(14)]), "7 repeat: '0', '1', '2', '3', '4', …"),
        (squad(question(is_impossible=True)), "'q1': is_impossible is true, yet it has 1 answers"),
        (squad(question(answers=[], is_impossible=False)), "is_impossible is false, yet it has 0 answers"),
    ],
)
def test_bad_files_are_named_with_the_place(write, content, message):
    path = write(content)
    with pytest.raises(UserError) as error:
        read_squad(path)
    assert message in str(error.value)
    assert str(path) in str(error.value)


@pytest.mark.parametrize(
    ("text", "start", "found"),
    [
        ("Kraków", 27, "raków. The"),
        ("Kraków", 9999, "''"),
        ("white.", -6, "Zoë found"),
        ("", 0, "Zoë found"),
        ("krakow", 26, "Kraków. Th"),
    ],
)
def test_an_answer_that_is_not_at_its_offset(write, text, start, found):
    path = write(squad(question("right"), question("wrong", [("Kraków", 26), (text, start)])))
    with pytest.raises(UserError) as error:
        read_squad(path)
    for part in ("'wrong'", repr(text), f"offset {start} ", found, str(path)):
        assert part in str(error.value)


@settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(context=st.text(min_size=1, max_size=40), data=st.data())
def test_any_text_survives_the_round_trip(write, context, data):
    start = data.draw(st.integers(0, len(context) - 1))
    text = context[start : data.draw(st.integers(start + 1, len(context)))]
    gold = {"id": "q", "question": text, "answers": [{"text": text, "answer_start": start}]}
    path = write({"data": [{"title": text, "paragraphs": [{"context": context, "qas": [gold]}]}]})
    assert read_squad(path) == [Example("q", text, context, (GoldAnswer(text, start),), text)]

import numpy as np
import pytest

from tinybert_jax.data import Example, GoldAnswer, arrow, read_squad
from tinybert_jax.data.arrow import ArrowExamples
from tinybert_jax.data.squad_writer import paragraphs_of, write_squad
from tinybert_jax.errors import UserError

EXAMPLES = [
    Example("1", "Who?", 'A "cat"\n\u2028 sat é👩', (GoldAnswer("cat", 3), GoldAnswer("A", 0)), "One"),
    Example("2", "Why?", 'A "cat"\n\u2028 sat é👩', (), "One"),
    Example("3", "What?", "Another", (GoldAnswer("other", 2),), "One"),
    Example("4", "When?", "Another", (), "Two"),
    Example("5", "Where?", "", (), ""),
]


def test_datasets_opens_the_arrow_file(tmp_path):
    from datasets import Dataset

    write_squad(tmp_path / "data.arrow", paragraphs_of(EXAMPLES))
    rows = Dataset.from_file(str(tmp_path / "data.arrow"))
    assert rows.column_names == ["title", "context", "qas"]
    assert rows[1]["qas"][0]["answers"] == [{"text": "other", "answer_start": 2}]


@pytest.fixture
def several_batches(tmp_path, monkeypatch):
    """The examples' three paragraphs in batches of two."""
    monkeypatch.setattr("tinybert_jax.data.arrow._ROWS", 2)
    write_squad(tmp_path / "data.arrow", paragraphs_of(EXAMPLES))
    return ArrowExamples(tmp_path / "data.arrow")


def test_examples_are_a_sequence(several_batches):
    assert len(several_batches) == 5
    assert list(several_batches) == list(several_batches) == EXAMPLES
    assert [several_batches[i] for i in range(-5, 5)] == EXAMPLES * 2
    assert several_batches[1:] == EXAMPLES[1:]
    assert several_batches[::-2] == EXAMPLES[::-2]
    for begin in range(6):
        for end in range(begin, 7):
            assert list(several_batches.between(begin, end)) == EXAMPLES[begin:end]
    for index in (5, -6):
        with pytest.raises(IndexError):
            several_batches[index]


def test_paragraphs_without_questions_are_passed_over(tmp_path):
    write_rows(tmp_path / "data.arrow", [], [paragraph(0), paragraph(1, qa("a")), paragraph(2)], [paragraph(0)])
    write_rows(tmp_path / "more.arrow", [paragraph(0), paragraph(3, qa("a"), qa("b")), paragraph(0), paragraph(1)])
    (only,) = read_squad(tmp_path / "data.arrow")
    assert (only.id, only.context) == ("a", "context 1")
    more = read_squad(tmp_path / "more.arrow")
    assert [more[i].id for i in range(len(more))] == [example.id for example in more] == ["a", "b"]


def test_an_index_decodes_one_paragraph(several_batches, monkeypatch):
    """Sampling a few of millions of questions must not decode a batch for each."""
    decoded, decode = [], arrow._to_list
    monkeypatch.setattr(arrow, "_to_list", lambda array: decoded.append(len(array)) or decode(array))
    assert several_batches[2].id == "3"
    assert max(decoded) == 1


def paragraph(number, *qas, **fields):
    return {"title": "", "context": f"context {number}", "qas": list(qas), **fields}


def qa(id_, **fields):
    return {"id": id_, "question": "?", "answers": [{"text": "con", "answer_start": 0}], **fields}


def write_rows(path, *batches):
    """Rows as they are, whatever they hold, each list of them a batch."""
    import pyarrow as pa

    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, arrow._schema()) as writer:
        for rows in batches:
            writer.write_batch(pa.RecordBatch.from_pylist(rows, schema=arrow._schema()))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (paragraph(1, qa("a"), context=None), r"row 3: 'context' must be of type str, got None"),
        (paragraph(1, qa("a"), title=None), r"row 3: 'title' must be of type str, got None"),
        (paragraph(1, qas=None), r"row 3: 'qas' must be of type list, got None"),
        (paragraph(1, None), r"row 3\.qas\[0\] must be an object with the key 'id', got None"),
        (paragraph(1, qa("a"), qa(None)), r"row 3\.qas\[1\]: 'id' must be of type str or int, got None"),
        (paragraph(1, qa("a", question=None)), r"row 3\.qas\[0\]: 'question' must be of type str, got None"),
        (paragraph(1, qa("a", answers=None)), r"row 3\.qas\[0\]: 'answers' must be of type list or dict, got None"),
        (paragraph(1, qa("a", answers=[None])), r"row 3\.qas\[0\]\.answers\[0\] must be an object"),
        (
            paragraph(1, qa("a", answers=[{"text": None, "answer_start": 0}])),
            r"row 3\.qas\[0\]\.answers\[0\]: 'text' must be of type str, got None",
        ),
        (
            paragraph(1, qa("a", answers=[{"text": "con", "answer_start": None}])),
            r"row 3\.qas\[0\]\.answers\[0\]: 'answer_start' must be of type int, got None",
        ),
    ],
)
def test_missing_values_are_named_with_their_row(tmp_path, row, message):
    write_rows(tmp_path / "data.arrow", [paragraph(0, qa("x"))] * 2, [paragraph(0, qa("y")), row])
    with pytest.raises(UserError, match=rf"data\.arrow: {message}"):
        read_squad(tmp_path / "data.arrow")


@pytest.mark.parametrize("place", ["offsets", "text", "length"])
def test_a_damaged_file_is_an_error_and_no_crash(tmp_path, place):
    write_rows(tmp_path / "data.arrow", [paragraph(n, qa(str(n))) for n in range(3)])
    content = bytearray((tmp_path / "data.arrow").read_bytes())
    if place == "length":
        del content[-100:]
    elif place == "text":
        content[content.index(b"context 0")] = 0xFF  # not UTF-8
    else:
        lengths = np.array([0, 9, 18, 27], np.int32).tobytes()  # where each context begins, and the last one ends
        at = content.index(lengths)
        content[at + 4 : at + 8] = np.int32(1 << 30).tobytes()
    (tmp_path / "data.arrow").write_bytes(content)
    with pytest.raises(UserError, match=r"cannot read the Arrow file .*data\.arrow"):
        read_squad(tmp_path / "data.arrow")


@pytest.mark.parametrize("content", [b"", b"{}", b"ARROW1\0\0garbage"])
def test_files_that_are_not_arrow_are_refused(tmp_path, content):
    (tmp_path / "data.arrow").write_bytes(content)
    with pytest.raises(UserError, match=r"cannot read the Arrow file .*data\.arrow"):
        read_squad(tmp_path / "data.arrow")


def test_other_columns_are_refused(tmp_path):
    import pyarrow as pa

    table = pa.table({"text": ["a"]})
    with pa.OSFile(str(tmp_path / "data.arrow"), "wb") as file, pa.ipc.new_stream(file, table.schema) as writer:
        writer.write_table(table)
    with pytest.raises(UserError, match=r"with the columns title, context and qas .* got text"):
        ArrowExamples(tmp_path / "data.arrow")


def test_a_missing_arrow_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"missing\.arrow"):
        ArrowExamples(tmp_path / "missing.arrow")

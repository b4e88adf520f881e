"""What holds for every source of data alike, and how a source is told by its name."""

import json
import sys

import pytest

from tinybert_jax.data import Example, GoldAnswer, arrow, read_squad
from tinybert_jax.data.sources import FILE_READERS
from tinybert_jax.errors import UserError

CONTEXT = "Zoë found 3 naïve mice in Kraków. The mice were white."


def row(id_: object = "q1", answers=(("Kraków", 26),), **fields):
    golds = [{"text": text, "answer_start": start} for text, start in answers]
    return {"id": id_, "question": "Where?", "context": CONTEXT, "title": "T", "answers": golds, **fields}


def as_paragraph(row):
    return {"context": row["context"], "qas": [{key: row[key] for key in row.keys() - {"context", "title"}}]}


def write_json(rows, path):
    articles = [{"title": row["title"], "paragraphs": [as_paragraph(row)]} for row in rows]
    path.write_text(json.dumps({"data": articles}), encoding="utf-8")


def write_arrow(rows, path):
    import pyarrow as pa

    rows = [{"title": row["title"], **as_paragraph(row)} for row in rows]
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, arrow._schema()) as writer:
        writer.write_batch(pa.RecordBatch.from_pylist(rows, schema=arrow._schema()))


WRITERS = {".json": write_json, ".arrow": write_arrow}


def transposed(golds):
    """Answers as hub data sets have them."""
    return {key: [gold[key] for gold in golds] for key in ("text", "answer_start")}


@pytest.fixture(params=[*WRITERS, "hub"])
def read(request, tmp_path, monkeypatch):
    """`read(rows)`: what `read_squad` makes of the same rows in each kind of source."""

    def read(*rows, **settings):
        if request.param == "hub":
            hub = [row | {"answers": transposed(row["answers"])} for row in rows]
            monkeypatch.setattr("tinybert_jax.data.hub_rows.load", lambda source: hub)
            return read_squad("owner/name:split", **settings)
        WRITERS[request.param](rows, path := tmp_path / f"data{request.param}")
        return read_squad(path, **settings)

    return read


def test_every_source_is_tested():
    assert FILE_READERS.keys() == WRITERS.keys() | {".gz", ".jsonl"}  # the last: test_question_lines.py


def test_sources_give_the_same_examples(read):
    examples = read(row(), row("q2", [], question="Why?"), row("q3", [("Kraków", 26), ("in Kraków", 23)]))
    expected = [
        Example("q1", "Where?", CONTEXT, (GoldAnswer("Kraków", 26),), "T"),
        Example("q2", "Why?", CONTEXT, (), "T"),
        Example("q3", "Where?", CONTEXT, (GoldAnswer("Kraków", 26), GoldAnswer("in Kraków", 23)), "T"),
    ]
    assert len(examples) == 3
    assert list(examples) == [examples[i] for i in range(3)] == expected


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], r"holds no question"),
        ([row("a"), row("b"), row("a")], r"1 repeat: 'a'"),
        ([row(str(i // 2)) for i in range(14)], r"7 repeat: '0', '1', '2', '3', '4', …"),
        ([row("a"), row("b", [("Kraków", 26), ("Kraków", 27)])], r"question 'b': the answer 'Kraków' is not at .* 27 "),
        ([row("a", [("", 0)])], r"question 'a': the answer '' is not at"),
        ([row("a", [("white.", -6)])], r"question 'a': the answer 'white.' is not at"),
    ],
)
def test_sources_refuse_the_same_rows(read, rows, message):
    with pytest.raises(UserError, match=message):
        read(*rows)


def test_scoring_needs_no_offsets_from_any_source(read):
    examples = read(row("a", [("Kraków", 5)]), row("b", [("Paris", 99)]), check_offsets=False)
    assert [example.answers for example in examples] == [(GoldAnswer("Kraków", 5),), (GoldAnswer("Paris", 99),)]
    assert examples[1].answers == (GoldAnswer("Paris", 99),)
    with pytest.raises(UserError, match="repeat: 'a'"):
        read(row("a"), row("a"), check_offsets=False)


def test_ids_are_told_apart_where_their_hashes_are_not(read, monkeypatch):
    monkeypatch.setattr("tinybert_jax.data.validation.hash", lambda _: 7, raising=False)
    assert len(read(row("a"), row("b"))) == 2
    with pytest.raises(UserError, match="1 repeat: 'b'"):
        read(row("a"), row("b"), row("b"))


@pytest.mark.parametrize(
    "source", ["none.json", "none.json.gz", "none.arrow", "owner/name.json", "owner/name", "squad"]
)
def test_a_missing_file_is_no_hub_data_set(source):
    with pytest.raises(UserError, match="does not exist"):
        read_squad(source)


def test_an_existing_path_wins_over_the_hub(tmp_path, monkeypatch):
    (tmp_path / "a").mkdir()
    write_json([row()], tmp_path / "a" / "b:c")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "datasets", None)  # importing it raises
    assert len(read_squad("a/b:c")) == 1


def test_a_folder_cannot_be_read(tmp_path):
    for folder in (tmp_path, tmp_path / "data.arrow"):
        folder.mkdir(exist_ok=True)
        with pytest.raises(UserError, match="cannot read"):
            read_squad(folder)

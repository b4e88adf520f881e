"""A corpus: what is read of which files, and how it is packed into rows, by hand."""

import gzip
import itertools
import json

import numpy as np
import pytest

from tinybert_jax.data import Epochs
from tinybert_jax.data.corpus import load_corpus, pack
from tinybert_jax.data.corpus_text import CorpusText, Piece
from tinybert_jax.errors import UserError


def pieces(*sources, column="text"):
    """The pieces that say anything, and the ends of documents."""
    return [piece for piece in CorpusText([*map(str, sources)], column).pieces() if piece.text or piece.ends]


def words(*sources, column="text"):
    """The documents."""
    documents = [""]
    for piece in pieces(*sources, column=column):
        documents[-1] += piece.text
        documents += [""] if piece.ends else []
    return [document for document in documents if document]


def test_blank_lines_separate_documents(tmp_path):
    (tmp_path / "a.txt").write_text("\ufeffone\n  two \r\n\n \t\nthree\n\n\n")
    assert words(tmp_path / "a.txt") == ["one two", "three"]
    (tmp_path / "b").write_text("four\nfive")  # any name, and no line's end
    assert words(tmp_path / "a.txt", tmp_path / "b") == ["one two", "three", "four five"]


def test_json_lines_are_documents(tmp_path):
    lines = [{"text": "one\n\ntwo"}, {"text": ""}, {"text": "three", "body": "3"}]
    (tmp_path / "a.jsonl").write_text("\n\n".join(map(json.dumps, lines)))
    assert words(tmp_path / "a.jsonl") == ["one\n\ntwo", "three"]
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(json.dumps(lines[2]).encode()))
    assert words(tmp_path / "b.jsonl.gz", column="body") == ["3"]


def test_folders_and_patterns_are_their_files_in_order(tmp_path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "z.txt").write_text("z")
    (tmp_path / "b.txt.gz").write_bytes(gzip.compress(b"b"))
    (tmp_path / "a.jsonl").write_text('{"text": "a"}')
    (tmp_path / "picture.png").write_bytes(b"\x89PNG\x00")
    assert words(tmp_path) == ["a", "b", "z"]
    assert words(tmp_path / "**" / "*.txt*") == ["b", "z"]


def test_a_long_line_is_read_in_parts(tmp_path, monkeypatch):
    monkeypatch.setattr("tinybert_jax.data.corpus_text._LONGEST", 4)
    (tmp_path / "a.txt").write_text("aé bé cé\n")
    assert pieces(tmp_path / "a.txt") == [Piece("aé b", False), Piece(" é cé", False), Piece("", True)]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b"", "holds no text: give files that do"),
        ("a.txt", b" \n\n", "holds no text: give files that do"),
        ("a.jsonl", b'{"text": " "}', "holds no text: give files that do"),
        ("a.txt", b"PK\x03\x04\x00\x00", r"a\.txt must be a text in UTF-8, got a binary file"),
        ("a.txt", b"\xff\xfea\x00", r"a\.txt must be a text in UTF-8: "),
        ("a.txt.gz", gzip.compress(bytes(range(256)) * 99), r"a\.txt\.gz must be a text in UTF-8"),
        ("a.txt.gz", gzip.compress(b"a" * 999)[:-9], "damaged gzip file"),
        ("a.jsonl", b'{"body": "b"}', r"a\.jsonl, line 1 must be an object with a text called 'text'"),
        ("a.jsonl", b"text", r"a\.jsonl, line 1: not valid JSON"),
    ],
    ids=["empty", "blank", "blank-json", "binary", "utf-16", "binary-gz", "damaged-gz", "column", "json"],
)
def test_what_is_no_text_is_refused_at_once(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message):
        CorpusText([str(tmp_path / name)], "text")


@pytest.mark.parametrize(
    ("source", "message"),
    [("none.txt", "none.txt does not exist"), ("*.none", "holds no text"), ("owner/name", "does not exist")],
    ids=["file", "pattern", "hub"],
)
def test_what_is_not_there_is_refused(tmp_path, monkeypatch, source, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=message):
        CorpusText([source], "text")


def test_a_data_set_of_the_hub(monkeypatch, tmp_path, tokenizer):
    import datasets

    rows = datasets.Dataset.from_dict({"body": ["ab", "", "c" * 9], "number": [1, 2, 3]})
    monkeypatch.setattr("tinybert_jax.data.corpus_text.load", lambda source: rows)
    assert words("owner/name:train", column="body") == ["ab", "c" * 9]
    with pytest.raises(UserError, match="no column 'text', but body, number: give --corpus-column"):
        CorpusText(["owner/name:train"], "text")
    corpus = load_corpus(CorpusText(["owner/name:train"], "body"), tokenizer, 6, tmp_path)
    assert len(corpus.train) + len(corpus.held_out) == 3


def rows(tokenizer, length, *documents):
    """Rows as words, of documents given as parts: "abc" is three tokens."""
    parts = [
        (np.array(tokenizer.convert_tokens_to_ids([*part]), np.int32), number == len(document))
        for document in documents
        for number, part in enumerate(document, start=1)
    ]
    packed = [tokenizer.convert_ids_to_tokens(row) for row in pack(parts, tokenizer, length)]
    return [" ".join(row).replace("[CLS]", "<").replace("[SEP]", ">").replace(" ", "") for row in packed]


@pytest.mark.parametrize(
    ("documents", "expected"),
    [
        ([("abc",)], ["<abc>"]),
        ([("ab",), ("c",)], ["<ab>c>"]),
        ([("abcdefghij",)], ["<abcd>", "<efgh>", "<ij>"]),
        ([("a", "bc", "def")], ["<abcd>", "<ef>"]),
        ([("abcd",), ("ef",)], ["<abcd>", "<ef>"]),  # a document that fills its row has one [SEP]
        ([("abc",), ("de",)], ["<abc>", "<de>"]),  # the row's end is the document's
        ([("ab",), ("",), ("c",)], ["<ab>c>"]),
        ([("a", ""), ("bcdef", "")], ["<a>bc>", "<def>"]),
        ([("",)], []),
    ],
    ids=range(9),
)
def test_rows_are_full_and_documents_end_with_a_separator(tokenizer, documents, expected):
    assert rows(tokenizer, 6, *documents) == expected


def test_rows_hold_every_token_once_and_in_order(tokenizer):
    rng = np.random.default_rng(0)
    letters = "".join(rng.choice([*"abcdefgh"], 500))
    cuts = [0, *sorted(rng.choice(500, 60, replace=False).tolist()), 500]
    documents = [(letters[a:b],) for a, b in itertools.pairwise(cuts)]
    packed = rows(tokenizer, 9, *documents)
    assert all(row[0] == "<" and row[-1] == ">" and ">>" not in row and len(row) in (8, 9) for row in packed[:-1])
    assert "".join(packed).replace("<", "").replace(">", "") == letters


def test_a_corpus_is_packed_once_and_one_row_in_a_hundred_is_held_out(tokenizer, tmp_path, monkeypatch):
    (tmp_path / "a.txt").write_text("\n\n".join("abcdefgh"[: 1 + i % 8] for i in range(300)))
    text = CorpusText([str(tmp_path / "a.txt")], "text")
    corpus = load_corpus(text, tokenizer, 8, tmp_path / "cache")
    total = len(corpus.train) + len(corpus.held_out)
    assert len(corpus.held_out) == len(range(1, total, 100)) >= 2
    monkeypatch.setattr("tinybert_jax.data.corpus.pack", lambda *_: pytest.fail("packed again"))
    again = load_corpus(text, tokenizer, 8, tmp_path / "cache")
    assert again.key == corpus.key
    np.testing.assert_array_equal(again.train.tokens, corpus.train.tokens)
    batch = Epochs(again.train, 4, (8,), seed=0).batch_at(3)
    assert batch.input_ids.shape == (4, 8)
    assert not batch.token_type_ids.any()
    assert batch.attention_mask[:, :7].all()


def test_other_text_or_rows_are_another_corpus(tokenizer, tmp_path):
    (tmp_path / "a.txt").write_text("abcdefgh " * 9)
    (tmp_path / "b.txt").write_text("abcdefgh " * 8)

    def key(name, length):
        return load_corpus(CorpusText([str(tmp_path / name)], "text"), tokenizer, length, tmp_path / "cache").key

    assert len({key("a.txt", 8), key("b.txt", 8), key("a.txt", 9)}) == 3


def test_a_corpus_too_small_to_hold_a_row_out_is_refused(tokenizer, tmp_path):
    (tmp_path / "a.txt").write_text("abc")
    text = CorpusText([str(tmp_path / "a.txt")], "text")
    with pytest.raises(UserError, match="must fill at least two rows"):
        load_corpus(text, tokenizer, 8, tmp_path / "cache")
    with pytest.raises(UserError, match="max_seq_len must be at least 3"):
        load_corpus(text, tokenizer, 2, tmp_path / "cache")

import gzip
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinybert_jax.data import Example, GoldAnswer, read_squad
from tinybert_jax.data.squad_writer import paragraphs_of, write_squad
from tinybert_jax.errors import UserError

EXAMPLES = [
    Example("1", "Who?", 'A "cat"\n\u2028 sat é👩', (GoldAnswer("cat", 3), GoldAnswer("A", 0)), "One"),
    Example("2", "Why?", 'A "cat"\n\u2028 sat é👩', (), "One"),
    Example("3", "What?", "Another", (GoldAnswer("other", 2),), "One"),
    Example("4", "When?", "Another", (), "Two"),
    Example("5", "Where?", "", (), ""),
]


@pytest.mark.parametrize("name", ["data.json", "data.json.gz", "data.arrow"])
def test_what_is_written_is_read_back(tmp_path, name):
    write_squad(tmp_path / name, paragraphs_of(EXAMPLES))
    assert list(read_squad(tmp_path / name)) == EXAMPLES
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_the_json_has_squad_s_layout(tmp_path):
    write_squad(tmp_path / "data.json", paragraphs_of(EXAMPLES))
    squad = json.loads((tmp_path / "data.json").read_text(encoding="utf-8"))
    assert squad["version"] == "v2.0"
    assert [(article["title"], len(article["paragraphs"])) for article in squad["data"]] == [
        ("One", 2),
        ("Two", 1),
        ("", 1),
    ]
    assert squad["data"][0]["paragraphs"][0]["qas"][0] == {
        "question": "Who?",
        "id": "1",
        "answers": [{"text": "cat", "answer_start": 3}, {"text": "A", "answer_start": 0}],
        "is_impossible": False,
    }
    assert squad["data"][0]["paragraphs"][0]["qas"][1]["is_impossible"] is True


@pytest.mark.parametrize("name", ["data.json", "data.json.gz", "data.arrow"])
def test_the_same_data_gives_the_same_bytes(tmp_path, name, monkeypatch):
    for folder, time in (("a", 1e9), ("b", 2e9)):
        monkeypatch.setattr("time.time", lambda time=time: time)
        write_squad(tmp_path / folder / name, paragraphs_of(EXAMPLES))
    assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    plain = (tmp_path / "a" / name).read_bytes()
    assert json.loads(gzip.decompress(plain) if name.endswith(".gz") else plain) if "json" in name else plain


@given(st.lists(st.tuples(st.text(max_size=8), st.text(max_size=5)), min_size=1, max_size=5))
def test_any_text_survives(tmp_path_factory, texts):
    examples = [Example(str(i), question, context, ()) for i, (context, question) in enumerate(texts)]
    folder = tmp_path_factory.mktemp("any")
    for name in ("a.json", "a.arrow"):
        write_squad(folder / name, paragraphs_of(examples))
        assert list(read_squad(folder / name)) == examples


def test_an_interrupted_write_leaves_nothing(tmp_path):
    def interrupted():
        yield EXAMPLES[:2]
        raise KeyboardInterrupt

    for name in ("data.json", "data.json.gz", "data.arrow"):
        with pytest.raises(KeyboardInterrupt):
            write_squad(tmp_path / name, interrupted())
    assert list(tmp_path.iterdir()) == []


def test_other_suffixes_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"must end in \.json, \.json\.gz, \.arrow, got 'data\.txt'"):
        write_squad(tmp_path / "data.txt", [])

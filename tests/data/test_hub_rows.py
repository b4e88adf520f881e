"""Data sets of the hub: fetched by the real client from a hub on loopback, and their rows, which a stand-in gives."""

import json
from types import SimpleNamespace

import pytest

from tinybert_jax.data import Example, GoldAnswer, read_squad
from tinybert_jax.data.hub_rows import HUB_SOURCE
from tinybert_jax.errors import UserError

CONTEXT = "Zoë found 3 naïve mice in Kraków. The mice were white."


def hub_row(id_="q1", texts=("Kraków",), starts=(26,), **fields):
    golds = {"text": list(texts), "answer_start": list(starts)}
    return {"id": id_, "title": "T", "context": CONTEXT, "question": "Where?", "answers": golds, **fields}


@pytest.fixture
def hub(monkeypatch):
    """What the clients load: `rows`, or an error of theirs."""
    loaded = SimpleNamespace(rows=[])

    def load(source):
        if isinstance(loaded.rows, Exception):
            raise loaded.rows
        return loaded.rows

    monkeypatch.setattr("tinybert_jax.data.hub_rows.load", load)
    return loaded


@pytest.mark.parametrize(
    ("source", "parts"),
    [
        ("a/b:c", ("a/b", None, None, "c")),
        ("a/b/xquad.de:test", ("a/b", "xquad.de", None, "test")),
        ("a/b@v1.0:c", ("a/b", None, "v1.0", "c")),
        ("a/b@refs/convert/parquet:c", ("a/b", None, "refs/convert/parquet", "c")),
        ("a/b/de@v1:c", ("a/b", "de", "v1", "c")),
    ],
)
def test_a_name_says_configuration_revision_and_split(source, parts):
    assert HUB_SOURCE.fullmatch(source).group("name", "config", "revision", "split") == parts


@pytest.mark.parametrize("source", ["a/b", "a/b@v1", "b:c", "a/b/c/d:e", "./a/b:c", "a/b@:c", "a/b/:c", "a/b:c:d"])
def test_other_names_are_none_of_the_hub_s(source):
    assert HUB_SOURCE.fullmatch(source) is None


def test_reads_a_hub_data_set(hub):
    hub.rows = [hub_row(), hub_row("q2", (), (), context="".join(list(CONTEXT)))]
    first, second = read_squad("rajpurkar/squad_v2:validation")
    assert first == Example("q1", "Where?", CONTEXT, (GoldAnswer("Kraków", 26),), "T")
    assert second.is_impossible
    assert second.context is first.context


def test_integer_ids_become_strings(hub):
    hub.rows = [hub_row(7), hub_row("8")]
    assert [example.id for example in read_squad("a/b:c")] == ["7", "8"]


def test_answers_may_be_a_list_of_their_own(hub):
    hub.rows = [hub_row(answers=[{"text": "Kraków", "answer_start": 26}])]
    assert read_squad("a/b:c")[0].answers == (GoldAnswer("Kraków", 26),)


def test_scoring_needs_no_offsets(hub):
    hub.rows = [hub_row(starts=(3,)), hub_row("q2", answers={"text": ["Kraków"]})]
    examples = read_squad("a/b:c", check_offsets=False)
    assert [example.answers for example in examples] == [(GoldAnswer("Kraków", 3),), (GoldAnswer("Kraków", -1),)]
    hub.rows = [hub_row(starts=())]
    with pytest.raises(UserError, match="got 1 and 0"):
        read_squad("a/b:c", check_offsets=False)


def test_hub_faults_are_user_errors(hub):
    for rows, message in (
        (ValueError("Unknown split"), "cannot load hub data set a/b:c from .*: Unknown split"),
        (RuntimeError("defunct\n"), "cannot load hub data set a/b:c from .*: defunct"),
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


def as_lines(*rows) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def ids_of(source) -> list[str]:
    return [example.id for example in read_squad(source)]


def test_a_data_set_is_fetched_at_its_revision(hub_server):
    first = hub_server.add("ada/mice", {"test.jsonl": as_lines(hub_row("old"))}, kind="datasets").refs["main"]
    repo = hub_server.add("ada/mice", {"test.jsonl": as_lines(hub_row("new"), hub_row("2"))}, kind="datasets")
    repo.refs["v1"] = first
    assert ids_of("ada/mice:test") == ["new", "2"]
    assert ids_of("ada/mice@v1:test") == ids_of(f"ada/mice@{first}:test") == ["old"]


def test_without_a_connection_the_cache_serves_that_very_revision_or_nothing(hub_server, monkeypatch):
    repo = hub_server.add("ada/mice", {"test.jsonl": as_lines(hub_row("old"))}, kind="datasets")
    repo.refs["v1"] = repo.refs["main"]
    assert ids_of("ada/mice@v1:test") == ids_of("ada/mice:test") == ["old"]
    hub_server.close()
    monkeypatch.setattr("time.sleep", lambda _: None)  # `datasets` tries six times, in 23 seconds
    assert ids_of("ada/mice@v1:test") == ids_of("ada/mice:test") == ["old"]
    with pytest.raises(UserError, match=r"cannot load hub data set ada/mice@v2:test from .*refused"):
        read_squad("ada/mice@v2:test")


def test_another_revision_in_the_cache_is_not_taken_for_the_one_asked_for(hub_server, monkeypatch):
    first = hub_server.add("ada/mice", {"test.jsonl": as_lines(hub_row("old"))}, kind="datasets").refs["main"]
    hub_server.add("ada/mice", {"test.jsonl": as_lines(hub_row("new"))}, kind="datasets")
    assert ids_of("ada/mice:test") == ["new"]
    assert ids_of(f"ada/mice@{first}:test") == ["old"]
    hub_server.close()
    monkeypatch.setattr("time.sleep", lambda _: None)
    assert ids_of(f"ada/mice@{first}:test") == ["old"]
    with pytest.raises(UserError, match="refused"):
        read_squad("ada/mice:test")


def test_a_configuration_is_fetched_by_its_name(hub_server, tmp_path):
    import pyarrow as pa
    import pyarrow.parquet

    card, files = "---\nconfigs:\n", {}
    for config in ("de", "en"):
        path = tmp_path / f"{config}.parquet"
        pa.parquet.write_table(pa.Table.from_pylist([hub_row(config)]), path)
        files[f"{config}/test.parquet"] = path.read_bytes()
        card += f"- config_name: {config}\n  data_files: [{{split: test, path: {config}/test.parquet}}]\n"
    hub_server.add("ada/mice", files | {"README.md": f"{card}---\n".encode()}, kind="datasets")
    assert ids_of("ada/mice/de:test") == ["de"]
    assert ids_of("ada/mice/en@main:test") == ["en"]
    for source, reason in (("ada/mice:test", "Config name is missing"), ("ada/mice/fr:test", "'fr' not found")):
        with pytest.raises(UserError, match=f"cannot load hub data set {source} from .*: .*{reason}") as raised:
            read_squad(source)
        assert "\n" not in str(raised.value)


def test_what_the_hub_does_not_give_is_named_in_a_line(hub_server):
    hub_server.add("ada/mice", {"test.jsonl": as_lines(hub_row())}, kind="datasets")
    for source, reason in (
        ("ada/none:test", "Repository Not Found"),
        ("ada/mice:dev", "Unknown split"),
        ("ada/mice@v9:test", "Revision Not Found"),
    ):
        with pytest.raises(UserError, match=f"cannot load hub data set {source} from .*: .*{reason}") as raised:
            read_squad(source)
        assert "\n" not in str(raised.value)
    hub_server.close()
    with pytest.raises(UserError, match=r"cannot load hub data set ada/far:test from .*: .*refused"):
        read_squad("ada/far:test")

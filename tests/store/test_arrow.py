import pyarrow as pa
import pytest

from tinybert_jax.errors import UserError
from tinybert_jax.store.arrow import read_batches, write_rows

SCHEMA = pa.schema([("text", pa.string()), ("places", pa.list_(pa.int32()))])
ROWS = [{"text": f"naïve {i}", "places": list(range(i))} for i in range(5)]


def test_rows_are_read_back_some_at_a_time(tmp_path):
    write_rows(tmp_path / "a.arrow", SCHEMA, iter(ROWS), at_once=2)
    batches = list(read_batches(tmp_path / "a.arrow", SCHEMA, "rows"))
    assert [len(batch) for batch in batches] == [2, 2, 1]
    assert [row for batch in batches for row in batch.to_pylist()] == ROWS


def test_no_rows(tmp_path):
    write_rows(tmp_path / "a.arrow", SCHEMA, [], at_once=2)
    assert list(read_batches(tmp_path / "a.arrow", SCHEMA, "rows")) == []


def test_another_schema_is_named(tmp_path):
    write_rows(tmp_path / "a.arrow", SCHEMA, ROWS, at_once=2)
    with pytest.raises(UserError, match=r"a\.arrow must hold candidates, got text, places"):
        list(read_batches(tmp_path / "a.arrow", pa.schema([("text", pa.string())]), "candidates"))


@pytest.mark.parametrize("content", [None, b"", b"no Arrow file", "cut"])
def test_what_cannot_be_read_is_named(tmp_path, content):
    path = tmp_path / "a.arrow"
    if content == "cut":
        write_rows(path, SCHEMA, ROWS, at_once=2)
        path.write_bytes(path.read_bytes()[:-100])
    elif content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=r"cannot read the Arrow file \S*a\.arrow: "):
        list(read_batches(path, SCHEMA, "rows"))

import numpy as np
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


@pytest.mark.parametrize("damage", ["text", "number", "seal", "last batch", "end"])
def test_damage_that_arrow_itself_reads_is_found(tmp_path, damage):
    path = tmp_path / "a.arrow"
    write_rows(path, SCHEMA, ROWS[:4], at_once=2)
    shorter = path.read_bytes()
    write_rows(path, SCHEMA, ROWS, at_once=2)
    content, end = bytearray(path.read_bytes()), len(shorter) - 16 - 8  # less the seal, and the end of the stream
    if damage == "last batch":
        assert content[:end] == shorter[:end]
        del content[end:]
    elif damage == "end":
        del content[-24:]
    else:
        numbers = np.arange(3, dtype=np.int32).tobytes()
        content[content.index({"text": b"ve 2", "number": numbers, "seal": b"CRC-32"}[damage])] ^= 2
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"cannot read the Arrow file \S*a\.arrow: it is damaged, or cut off"):
        list(read_batches(path, SCHEMA, "rows"))


def test_random_damage_is_refused_and_ends_no_process(tmp_path):
    path, random = tmp_path / "a.arrow", np.random.default_rng(0)
    write_rows(path, SCHEMA, ROWS, at_once=2)
    sound = path.read_bytes()
    for _ in range(200):
        content, at = bytearray(sound), int(random.integers(len(sound)))
        content[at] ^= 1 << int(random.integers(8))
        (tmp_path / "b.arrow").write_bytes(content)
        with pytest.raises(UserError):
            list(read_batches(tmp_path / "b.arrow", SCHEMA, "rows"))


def test_files_of_others_have_no_seal(tmp_path):
    with pa.OSFile(str(tmp_path / "a.arrow"), "wb") as file, pa.ipc.new_stream(file, SCHEMA) as writer:
        writer.write_batch(pa.RecordBatch.from_pylist(ROWS, schema=SCHEMA))
    (batch,) = read_batches(tmp_path / "a.arrow", SCHEMA, "rows")
    assert batch.to_pylist() == ROWS

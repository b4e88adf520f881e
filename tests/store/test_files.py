import gzip
import json
import shutil
import stat

import pytest

from tinybert_jax.errors import UserError
from tinybert_jax.store.files import atomic_path, check_folder_for, is_scratch, read_json, reading, sweep, write_json


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_appears_when_the_block_ends(tmp_path):
    path = tmp_path / "deep" / "a.txt"
    with atomic_path(path) as temporary:
        temporary.write_text("new")
        assert not path.exists()
        assert temporary.name == path.name  # what a writer derives from the suffix stays right
    assert path.read_text() == "new"
    assert names(path.parent) == ["a.txt"]


def test_a_file_is_replaced(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with atomic_path(str(path)) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert names(tmp_path) == ["a.txt"]


def test_a_folder_is_replaced_as_a_whole(tmp_path):
    path = tmp_path / "model"
    path.mkdir()
    (path / "old").write_text("old")
    with atomic_path(path) as temporary:
        temporary.mkdir()
        (temporary / "new").write_text("new")
        assert names(path) == ["old"]
    assert names(path) == ["new"]
    assert names(tmp_path) == ["model"]


def test_others_may_read_what_was_written(tmp_path):
    (tmp_path / "plain").mkdir()
    with atomic_path(tmp_path / "model") as temporary:
        temporary.mkdir()
    assert stat.S_IMODE((tmp_path / "model").stat().st_mode) == stat.S_IMODE((tmp_path / "plain").stat().st_mode)


@pytest.mark.parametrize("kind", ["file", "folder"])
@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_exception_leaves_the_old_and_nothing_else(tmp_path, kind, error):
    path = tmp_path / "a"
    if kind == "folder":
        path.mkdir()
        (path / "old").write_text("old")
    else:
        path.write_text("old")
    with pytest.raises(error), atomic_path(path) as temporary:
        if kind == "folder":
            temporary.mkdir()
            (temporary / "new").write_text("half")
        else:
            temporary.write_text("half")
        raise error
    assert names(tmp_path) == ["a"]
    assert names(path) == ["old"] if kind == "folder" else path.read_text() == "old"


def test_an_exception_leaves_nothing_where_nothing_was(tmp_path):
    with pytest.raises(RuntimeError), atomic_path(tmp_path / "a") as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert names(tmp_path) == []


def test_a_folder_is_never_given_up_for_a_file_or_for_nothing(tmp_path):
    path = tmp_path / "precious"
    path.mkdir()
    (path / "old").write_text("old")
    with pytest.raises(OSError), atomic_path(path) as temporary:
        temporary.write_text("a file")
    with pytest.raises(OSError), atomic_path(path):
        pass  # nothing written
    assert names(path) == ["old"]
    assert names(tmp_path) == ["precious"]


def test_json_round_trip_is_readable_text(tmp_path):
    value = {"exact": 81.5, "text": "naïve – 中", "list": [1, None, True]}
    write_json(tmp_path / "a.json", value)
    assert read_json(tmp_path / "a.json") == value
    text = (tmp_path / "a.json").read_text(encoding="utf-8")
    assert "naïve – 中" in text
    assert text.endswith("}\n")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le"])
def test_json_may_be_in_any_of_unicode_s_encodings(tmp_path, encoding):
    (tmp_path / "a.json").write_bytes('{"Zoë": "naïve 👩"}'.encode(encoding))
    assert read_json(tmp_path / "a.json") == {"Zoë": "naïve 👩"}


def test_what_is_not_json_does_not_replace_what_is(tmp_path):
    write_json(tmp_path / "a.json", 1)
    with pytest.raises(TypeError):
        write_json(tmp_path / "a.json", object())
    assert json.loads((tmp_path / "a.json").read_text()) == 1
    assert names(tmp_path) == ["a.json"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot read .*a.json: No such file or directory"),
        (b"{", "a.json is not valid JSON: "),
        (b"", "a.json is not valid JSON: "),
        (b"\xff\xfe", "a.json is not valid JSON: "),
        (b"\xff\xfe{", "a.json is not valid JSON: "),
        (b"[" * 100_000, "a.json is not valid JSON: it is nested too deeply"),
    ],
)
def test_a_file_that_is_not_json_is_named(tmp_path, content, message):
    if content is not None:
        (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(UserError, match=message):
        read_json(tmp_path / "a.json")


def test_a_folder_is_not_json(tmp_path):
    with pytest.raises(UserError, match=f"cannot read {tmp_path}: Is a directory"):
        read_json(tmp_path)


def test_what_killed_processes_left_is_swept_and_nothing_else(tmp_path):
    with atomic_path(tmp_path / "deep" / "model") as temporary:
        shutil.copytree(temporary.parent, left := tmp_path / "deep" / f"{temporary.parent.name[:-5]}x.tmp")
        temporary.mkdir()
    kept = [tmp_path / name for name in (".hidden", ".a.tmp", "a.12345678.tmp", "deep/.git")]
    for folder in kept:
        folder.mkdir()
    assert is_scratch(left.name) and left.exists()
    sweep(tmp_path)
    assert not left.exists() and all(folder.exists() for folder in kept)


def test_a_full_disk_leaves_the_old_file_and_names_the_new(small_disk):
    write_json(small_disk / "a.json", 1)
    with pytest.raises(OSError) as full, atomic_path(small_disk / "a.json") as temporary, temporary.open("wb") as file:
        file.write(bytes(2_000_000))
    assert full.value.filename == str(small_disk / "a.json")
    assert json.loads((small_disk / "a.json").read_text()) == 1
    assert names(small_disk) == ["a.json"]


def test_a_folder_that_could_not_be_made_is_told_before(tmp_path):
    check_folder_for(tmp_path / "new" / "folder" / "file")
    assert names(tmp_path) == []
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot write .*/file/deep/metrics.json: .*/file is no folder"):
        check_folder_for(tmp_path / "file" / "deep" / "metrics.json")


def test_a_gzip_that_unpacks_to_more_than_allowed_is_refused_while_it_is_read(tmp_path):
    path = tmp_path / "a.gz"
    path.write_bytes(gzip.compress(b"line\n" * 3_000_000))
    with reading(path, most=15_000_000) as file:
        assert file.read() == b"line\n" * 3_000_000
    with reading(path) as file:
        assert sum(line == b"line\n" for line in file) == 3_000_000
    read = 0
    with (
        pytest.raises(UserError, match=r"a\.gz must unpack to 0\.005 GB at most"),
        reading(path, most=5_000_000) as file,
    ):
        for line in file:
            read += len(line)
    assert 3_000_000 < read <= 5_000_000

import json
import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tinybert_jax.errors import UserError
from tinybert_jax.store.cache import KINDS, MANIFEST, Entry, Part, default_cache, entries, read_manifest, size_of

KEY = "ab" * 32
FILES = {"a.npy": b"1234567890", "b.txt": b"words", "empty": b""}


def make_files(entry):
    """One step: all files, whole or not at all."""
    with entry.adding() as folder:
        for name, content in FILES.items():
            (folder / name).write_bytes(content)


def make_blocks(entry, stop=99):
    """Block after block: files of their own, and one that grows. Returns the blocks that were missing."""
    made = []
    for block in range(3):
        if f"{block}.arrow" in entry.parts:
            continue
        if block == stop:
            raise KeyboardInterrupt
        entry.append("grows.npy", b"%d" % block * 4)
        with entry.adding() as folder:
            (folder / f"{block}.arrow").write_bytes(b"block %d" % block)
        made.append(block)
    return made


BLOCKS = {"grows.npy": b"000011112222", "0.arrow": b"block 0", "1.arrow": b"block 1", "2.arrow": b"block 2"}


def never(entry):
    raise AssertionError("made again")


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != MANIFEST}


@pytest.fixture
def entry(tmp_path):
    """`entry()`: as another process would open it."""
    return lambda kind="windows", key=KEY: Entry(tmp_path / "cache", kind, key)


@pytest.mark.parametrize(("make", "files"), [(make_files, FILES), (make_blocks, BLOCKS)])
def test_an_entry_is_made_once(entry, make, files):
    folder = entry().fill(make)
    assert folder == entry().path
    assert contents(folder) == files
    assert contents(entry().fill(never)) == files
    manifest = json.loads((folder / MANIFEST).read_text())
    assert manifest["complete"] is True
    assert {name: part["size"] for name, part in manifest["parts"].items()} == {n: len(c) for n, c in files.items()}


def test_entries_of_other_keys_and_kinds_are_others(entry):
    entry().fill(make_files)
    assert contents(entry(kind="glove").fill(make_blocks)) == BLOCKS
    assert contents(entry(key="0" * 64).fill(make_blocks)) == BLOCKS
    assert contents(entry().fill(never)) == FILES


def test_a_failure_keeps_finished_parts_and_nothing_else(entry):
    def fail(one):
        with one.adding() as folder:
            (folder / "half").write_bytes(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        entry().fill(fail)
    assert not entry().path.exists()

    with pytest.raises(KeyboardInterrupt):
        entry().fill(lambda one: make_blocks(one, stop=2))
    assert sorted(entry().path.iterdir()) == [entry().path / n for n in ("0.arrow", "1.arrow", "grows.npy", MANIFEST)]
    assert read_manifest(entry().path).complete is False  # pyright: ignore[reportOptionalMemberAccess]
    made = []
    assert contents(entry().fill(lambda one: made.append(make_blocks(one)))) == BLOCKS
    assert made == [[2]]


def test_what_was_written_but_not_recorded_does_not_count(entry):
    with pytest.raises(KeyboardInterrupt):
        entry().fill(lambda one: make_blocks(one, stop=1))
    folder = entry().path
    with (folder / "grows.npy").open("ab") as file:
        file.write(b"half a block")
    (folder / ".scratch").mkdir()
    (folder / ".scratch" / "left").write_bytes(b"by a killed process")
    (folder / "1.arrow").write_bytes(b"renamed, then killed")
    assert contents(entry().fill(make_blocks)) == BLOCKS


def flip(path):
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


DAMAGE = {
    "a byte": flip,
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "longer": lambda path: path.write_bytes(path.read_bytes() + b"x"),
    "emptied": lambda path: path.write_bytes(b""),
    "deleted": Path.unlink,
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("name", ["a.npy", "b.txt"])
def test_a_damaged_part_is_made_again_with_one_warning(entry, name, damage):
    folder = entry().fill(make_files)
    DAMAGE[damage](folder / name)
    message = rf"^\S*cache/windows/{KEY} in the cache is damaged \({name}\): it is made again$"
    with pytest.warns(UserWarning, match=message) as said:
        assert contents(entry().fill(make_files)) == FILES
    assert len(said) == 1
    entry().fill(never)


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize(("name", "again"), [("1.arrow", [1]), ("0.arrow", [0])])
def test_of_many_parts_only_the_damaged_is_made_again(entry, name, again, damage):
    def make(one):
        made = []
        for block in range(3):
            if f"{block}.arrow" not in one.parts:
                with one.adding() as folder:
                    (folder / f"{block}.arrow").write_bytes(b"block %d" % block)
                made.append(block)
        done.extend(made)

    done = []
    DAMAGE[damage](entry().fill(make) / name)
    done.clear()
    with pytest.warns(UserWarning, match=rf"damaged \({name}\)"):
        entry().fill(make)
    assert done == again


def test_who_has_a_damaged_file_mapped_keeps_it(entry):
    path = entry().fill(make_blocks) / "grows.npy"
    flip(path)
    with path.open("rb") as mapped, pytest.warns(UserWarning, match=r"grows\.npy"):
        entry().fill(lambda one: one.append("grows.npy", BLOCKS["grows.npy"]))
        assert mapped.read() == b"000011112223"
    assert path.read_bytes() == BLOCKS["grows.npy"]


BAD_MANIFESTS = [
    "",
    "{",
    "[1, 2]",
    '{"complete": true}',
    '{"complete": 1, "parts": {}}',
    '{"complete": true, "parts": {"a.npy": 3}}',
    '{"complete": true, "parts": {"a.npy": {"size": 10}}}',
    '{"complete": true, "parts": {"a.npy": {"size": "x", "crc32": 1}}}',
    None,
]


@pytest.mark.parametrize("content", BAD_MANIFESTS, ids=map(repr, BAD_MANIFESTS))
def test_a_damaged_manifest_vouches_for_nothing(entry, content):
    manifest = entry().fill(make_files) / MANIFEST
    manifest.unlink() if content is None else manifest.write_text(content)
    with pytest.warns(UserWarning, match=r"damaged \(manifest\.json\)") as said:
        assert contents(entry().fill(make_files)) == FILES
    assert len(said) == 1
    entry().fill(never)


def test_a_part_is_known_by_size_and_crc32(tmp_path):
    (tmp_path / "a").write_bytes(b"123456789")
    assert Part.of(tmp_path / "a") == Part(9, 0xCBF43926)  # the check value of CRC-32's definition
    (tmp_path / "long").write_bytes(b"123456789" + bytes(3 << 20))
    assert Part.of(tmp_path / "long", 9) == Part(9, 0xCBF43926)
    assert Part.of(tmp_path / "long").size == 9 + (3 << 20)


# --- other processes ------------------------------------------------------------------------------------------------

FILL = """
import signal, sys, time
from pathlib import Path
from tinybert_jax.store.cache import Entry

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell has its background jobs ignore it

def make(entry):
    for block in range(int(sys.argv[2])):
        if f"{block}.arrow" not in entry.parts:
            with entry.adding() as folder:
                (folder / f"{block}.arrow").write_bytes(b"by " + sys.argv[3].encode())
    print("filling", flush=True)
    time.sleep(float(sys.argv[4]))

print("waiting", flush=True)
Entry(Path(sys.argv[1]), "logits", "ab" * 32).fill(make)
print("filled", flush=True)
"""


@pytest.mark.parametrize(
    ("make", "files", "damaged"),
    [(make_files, FILES, False), (make_blocks, BLOCKS, False), (make_files, FILES, True)],
    ids=["files", "blocks", "damaged"],
)
def test_of_many_that_want_an_entry_at_once_one_makes_it_and_all_have_it(entry, make, files, damaged):
    """Each with an `Entry` of its own, and so with a lock of its own, as processes have them."""
    wanting, made = 8, []
    barrier = threading.Barrier(wanting)

    def want(key):
        def making(one):
            made.append(key)
            make(one)

        barrier.wait()
        folder = entry(key=key).fill(making)
        return {name: (folder / name).read_bytes() for name in files}

    keys = [f"{number:064x}" for number in range(12)]
    for key in keys:
        if damaged:
            flip(entry(key=key).fill(make) / "a.npy")
        with warnings.catch_warnings(record=True) as said, ThreadPoolExecutor(wanting) as pool:
            warnings.simplefilter("always")
            found = list(pool.map(want, [key] * wanting))
        assert found == [files] * wanting
        assert len(said) == damaged
    assert made == keys


def start(tmp_path, blocks, name, seconds):
    command = [sys.executable, "-c", FILL, *map(str, (tmp_path / "cache", blocks, name, seconds))]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_of_two_processes_one_makes_it_and_the_other_waits(entry, tmp_path):
    with start(tmp_path, 2, "first", 2) as first:
        assert [first.stdout.readline() for _ in range(2)] == ["waiting\n", "filling\n"]
        with start(tmp_path, 2, "second", 0) as second:
            out, said = second.communicate(timeout=60)
        assert (out, said) == (  # and then had nothing to do
            "waiting\nfilled\n",
            "waiting: another process computes the same teacher's logits\n",
        )
        assert first.communicate(timeout=60) == ("filled\n", "")
    assert set(contents(entry(kind="logits").path).values()) == {b"by first"}


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_killed_process_gives_way_and_leaves_its_parts(entry, tmp_path, number):
    with start(tmp_path, 2, "killed", 60) as killed:
        assert [killed.stdout.readline() for _ in range(2)] == ["waiting\n", "filling\n"]
        with start(tmp_path, 3, "second", 0) as second:
            assert "another process computes" in second.stderr.readline()
            killed.send_signal(number)
            killed.communicate(timeout=60)
            out, _ = second.communicate(timeout=60)
    assert out == "waiting\nfilling\nfilled\n"
    made = contents(entry(kind="logits").path)
    assert made == {"0.arrow": b"by killed", "1.arrow": b"by killed", "2.arrow": b"by second"}


# --- the list -------------------------------------------------------------------------------------------------------


def test_what_a_cache_holds_is_listed(entry, tmp_path):
    assert list(entries(tmp_path / "nowhere")) == []
    entry().fill(make_files)
    with pytest.raises(KeyboardInterrupt):
        entry(kind="logits", key="0" * 64).fill(lambda one: make_blocks(one, stop=1))
    old = tmp_path / "cache" / "augmented" / f"{KEY}.arrow"  # of an earlier layout
    old.parent.mkdir()
    old.write_bytes(b"old")
    (tmp_path / "cache" / "windows" / "mine").mkdir()  # nothing of ours
    (tmp_path / "cache" / "other").mkdir()
    listed = list(entries(tmp_path / "cache"))
    assert [(one.kind, one.key) for one in listed] == [
        ("windows", KEY),
        ("logits", "0" * 64),
        ("augmented", f"{KEY}.arrow"),
    ]
    assert [one.size() for one in listed] == [size_of(listed[0].path), size_of(listed[1].path), 3]
    assert listed[0].size() == 15 + (listed[0].path / MANIFEST).stat().st_size
    assert set(KINDS) >= {one.kind for one in listed}


def test_reading_counts_as_use(entry):
    folder = entry().fill(make_files)
    os.utime(folder / MANIFEST, (1000, 1000))
    assert entry().used() == 1000
    entry().fill(never)
    assert time.time() - entry().used() < 100


def test_what_is_removed_is_gone_and_made_again_without_a_warning(entry, tmp_path):
    entry().fill(make_files)
    assert entry().remove()
    assert not entry().path.exists() and not list((tmp_path / "cache").glob(".*"))
    assert entry().remove()  # as another process had been quicker
    assert contents(entry().fill(make_files)) == FILES


def test_what_is_being_filled_is_not_removed(entry, tmp_path):
    with start(tmp_path, 1, "first", 60) as first:
        assert [first.stdout.readline() for _ in range(2)] == ["waiting\n", "filling\n"]
        assert entry(kind="logits").remove() is False
        assert (entry(kind="logits").path / "0.arrow").exists()
        first.kill()
    assert entry(kind="logits").remove()


def test_a_cache_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(UserError, match=r"cannot write to the cache \S*/file: .*: name another folder"):
        Entry(tmp_path / "file", "windows", KEY).fill(make_files)


def test_the_default_is_below_the_user_s_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_cache() == tmp_path / "tinybert_jax"
    for unset in ("", "relative/is/ignored"):
        monkeypatch.setenv("XDG_CACHE_HOME", unset)
        assert default_cache() == Path.home() / ".cache" / "tinybert_jax"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert default_cache() == Path.home() / ".cache" / "tinybert_jax"


def test_nothing_is_said_about_a_sound_cache(entry):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(2):
            entry().fill(make_files)

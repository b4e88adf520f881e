"""The command that lists and removes what is kept between runs."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tinybert_jax import cache as command
from tinybert_jax.errors import UserError
from tinybert_jax.store.cache import MANIFEST, Entry

DAY = 24 * 60 * 60
KEYS = {"windows": "a" * 64, "logits": "b" * 64, "augmented": "c" * 64}


def aged(path, days):
    when = time.time() - days * DAY
    os.utime(path, (when, when))


def make(entry):
    entry.append("part", bytes(1000))


@pytest.fixture
def root(tmp_path):
    """Windows used now, half of some logits made 3 days ago, augmented data of 40 days, programs of 10."""
    root = tmp_path / "cache"
    for kind, key in KEYS.items():
        Entry(root, kind, key).fill(make)
    (root / "logits" / KEYS["logits"] / MANIFEST).write_text('{"complete": false, "parts": {}}')
    aged(root / "logits" / KEYS["logits"] / MANIFEST, 3)
    aged(root / "augmented" / KEYS["augmented"] / MANIFEST, 40)
    (root / "xla").mkdir()
    for name in ("jit_step-0123-cache", "jit_step-0123-atime"):
        (root / "xla" / name).write_bytes(bytes(5_000_000))
        aged(root / "xla" / name, 10)
    (root / "xla" / "sources").mkdir()  # somebody else's
    (root / "mine").write_text("nothing of ours")
    return root


def run(capsys, root, **options):
    command.manage(cache=root, **options)
    *table, last = capsys.readouterr().out.splitlines()
    return [line.split() for line in table], last


def test_the_list(capsys, root):
    table, last = run(capsys, root)
    assert table == [
        ["kind", "key", "size", "last", "used", "complete"],
        ["windows", "a" * 12, "1.11", "kB", "now", "yes"],
        ["logits", "b" * 12, "1.03", "kB", "3", "days", "ago", "no"],
        ["augmented", "c" * 12, "1.11", "kB", "40", "days", "ago", "yes"],
        ["xla", "all", "10", "MB", "10", "days", "ago", "yes"],
    ]
    assert last == f"total: 10 MB in {root}"


def test_a_cache_that_is_not_there(capsys, tmp_path):
    assert run(capsys, tmp_path / "nowhere") == (
        [["kind", "key", "size", "last", "used", "complete"]],
        f"total: 0 B in {tmp_path / 'nowhere'}",
    )
    run(capsys, tmp_path / "nowhere", prune=True)
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize(
    ("options", "gone"),
    [
        ({}, ["windows", "logits", "augmented", "xla"]),
        ({"kind": "logits"}, ["logits"]),
        ({"kind": "xla"}, ["xla"]),
        ({"older_than": 5}, ["augmented", "xla"]),
        ({"older_than": 2.5}, ["logits", "augmented", "xla"]),
        ({"older_than": 5, "kind": "augmented"}, ["augmented"]),
        ({"older_than": 50}, []),
    ],
)
def test_what_would_be_listed_is_removed(capsys, root, options, gone):
    (root / ".removed.left").mkdir()  # by a process that was killed
    listed, _ = run(capsys, root, **options)
    table, last = run(capsys, root, prune=True, **options)
    assert [line[0] for line in listed[1:]] == [line[0] for line in table[1:]] == gone
    assert all(line[-1] == "yes" for line in table[1:])
    assert last.startswith("removed: ")
    left = {kind for kind, key in KEYS.items() if (root / kind / key).exists()}
    left |= {"xla"} if (root / "xla" / "jit_step-0123-cache").exists() else set()
    assert left == {"windows", "logits", "augmented", "xla"} - set(gone)
    assert (root / "mine").exists() and (root / "xla" / "sources").exists()
    assert not list(root.glob(".removed*"))


FILL = """
import sys, time
from pathlib import Path
from tinybert_jax.store.cache import Entry

def make(entry):
    entry.append("part", bytes(10))
    print("filling", flush=True)
    time.sleep(60)

Entry(Path(sys.argv[1]), "candidates", "d" * 64).fill(make)
"""


def test_what_is_in_use_is_left_alone_and_said_so(capsys, root):
    with subprocess.Popen([sys.executable, "-c", FILL, root], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "filling\n"
        table, last = run(capsys, root, prune=True, kind="candidates")
        process.kill()
    assert table[1][0] == "candidates" and table[1][-3:] == ["no:", "in", "use"]
    assert last.startswith("removed: 0 B")
    assert (root / "candidates" / ("d" * 64) / "part").exists()


def test_a_negative_age_is_refused(tmp_path):
    with pytest.raises(UserError, match="older_than must be at least 0 days, got -1"):
        command.manage(older_than=-1, cache=tmp_path)


def test_the_command_line(monkeypatch, capsys, root):
    monkeypatch.setattr(sys, "argv", ["tinybert cache", "--cache", str(root), "--kind", "windows", "--prune"])
    command.main()
    assert capsys.readouterr().out.splitlines()[-1] == f"removed: 1.11 kB in {root}"
    assert not Path(root / "windows" / KEYS["windows"]).exists()


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (999.6, "1 kB"), (1234, "1.23 kB"), (5e9, "5 GB"), (2e14, "200 TB")],
)
def test_sizes(count, text):
    assert command._size(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(-5, "now"), (59, "now"), (60, "1 minute ago"), (7300, "2 hours ago"), (1e6, "11 days ago")]
)
def test_ages(seconds, text):
    assert command._age(seconds) == text

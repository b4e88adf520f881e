"""The command: real files in, real files out, killed and continued."""

import json
import os
import signal
import sys
import time
import warnings
from pathlib import Path

import pytest

from tests import forked
from tinybert_jax.augment import __main__ as command_line
from tinybert_jax.augment.__main__ import augment, main
from tinybert_jax.augment.candidates import Candidates
from tinybert_jax.data import read_squad
from tinybert_jax.data.squad_writer import paragraphs_of, write_squad
from tinybert_jax.errors import UserError, run_script
from tinybert_jax.synthetic.generate import SyntheticConfig, make_squad

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.filterwarnings("ignore:no GloVe vectors were given")


@pytest.fixture
def source(paragraphs, tmp_path):
    write_squad(tmp_path / "in" / "data.json", paragraphs)
    return tmp_path / "in" / "data.json"


@pytest.fixture
def settings(masked_lm_folder, tmp_path):
    return {"model": str(masked_lm_folder), "cache": tmp_path / "cache", "candidates": 5, "dtype": "float32"}


def run(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["augment", *map(str, arguments)])
    monkeypatch.setattr(command_line, "configure", lambda cache: None)  # the process is the tests'
    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)
    with pytest.raises(SystemExit) as exit_:
        run_script(main)
    return exit_.value.code


def test_the_command_line(monkeypatch, source, settings, tmp_path, paragraphs):
    out = tmp_path / "out" / "augmented.json"
    flags = ["--model", settings["model"], "--cache", settings["cache"], "--copies", 3, "--candidates", 4]
    flags += ["--probability", 0.9, "--seed", 7, "--preset", "huawei", "--dtype", "float32"]
    assert run(monkeypatch, source, out, *flags) == 0
    augmented = list(paragraphs_of(read_squad(out)))
    originals = [some for some in augmented if "#" not in some[0].id]
    assert originals == paragraphs
    assert len(augmented) > 2 * len(paragraphs)
    assert [path.name for path in out.parent.iterdir()] == [out.name]


@pytest.mark.parametrize("preset", ["haystack", "huawei", "recommended"])
def test_every_format_holds_the_same_data(source, settings, tmp_path, preset):
    names = ["a.json", "a.json.gz", "a.arrow"]
    for name in names:
        augment(str(source), tmp_path / preset / name, copies=4, preset=preset, **settings)
    first, *others = [list(read_squad(tmp_path / preset / name)) for name in names]
    assert all(other == first for other in others)
    assert (4 if preset == "haystack" else 5) * len(read_squad(source)) >= len(first) > len(read_squad(source))


def test_the_same_command_gives_the_same_bytes_and_another_seed_others(source, settings, tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        cache = {**settings, "cache": tmp_path / f"cache-{name}"}
        augment(str(source), tmp_path / f"{name}.json", copies=4, seed=seed, **cache)
    first, second, third = [(tmp_path / f"{name}.json").read_bytes() for name in "abc"]
    assert first == second != third


def test_what_augment_wrote_is_not_augmented_again(source, settings, tmp_path):
    augment(str(source), tmp_path / "once.arrow", copies=2, **settings)
    with pytest.raises(UserError, match="'0a#1' is a copy of '0a' already: give the data as it was before"):
        augment(str(tmp_path / "once.arrow"), tmp_path / "twice.json", copies=2, **settings)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"destination": "out.csv"}, r"must end in \.json"),
        ({"source": "missing.json"}, r"missing\.json does not exist"),
        ({"source": "in/asked.jsonl"}, r"asked\.jsonl has no labels"),
        ({"model": "nowhere/at/all"}, "no folder 'nowhere/at/all'"),
        ({"probability": 2.0}, "probability must be in"),
        ({"copies": 0}, "copies must be at least 1"),
        ({"glove": Path("nowhere.txt")}, r"GloVe vectors nowhere\.txt"),
    ],
)
def test_mistakes_are_refused_before_anything_is_computed(source, settings, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Candidates, "compute", lambda _: pytest.fail("computed all the same"))
    (source.parent / "asked.jsonl").write_text('{"id": 1, "question": "q", "context": "c"}')
    chosen = {"source": str(source), "destination": "out.json", **settings, **arguments}
    with pytest.raises(UserError, match=message):
        augment(chosen.pop("source"), Path(chosen.pop("destination")), **chosen)
    assert {path.name for path in tmp_path.iterdir()} == {"in"}


def test_an_existing_file_is_left_alone(monkeypatch, capsys, source, settings, tmp_path):
    (tmp_path / "out.json").write_text("precious")
    assert run(monkeypatch, source, tmp_path / "out.json", "--model", settings["model"]) == 2
    assert "exists already" in capsys.readouterr().err
    assert (tmp_path / "out.json").read_text() == "precious"


def command(source, out, model, cache):
    flags = ["--model", model, "--copies", "2", "--preset", "haystack", "--cache", cache]
    return ["-m", "tinybert_jax.augment", *map(str, [source, out, *flags])]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory, masked_lm_folder):
    """A data set of several blocks, and the bytes of what is made of it."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    source, out = folder / "data.json", folder / "out.json.gz"
    source.write_text(json.dumps(make_squad(SyntheticConfig(train_articles=20, dev_articles=1))[0]))
    forked.run(command(source, out, masked_lm_folder, folder / "cache"), ROOT).check_returncode()
    return source, out.read_bytes()


@pytest.mark.parametrize(("number", "status"), [(signal.SIGKILL, -9), (signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_killed_run_continues_to_the_same_bytes(uninterrupted, masked_lm_folder, tmp_path, number, status):
    """Killed between two blocks of candidates, and started again by the same command."""
    source, expected = uninterrupted
    words = command(source, tmp_path / "out.json.gz", masked_lm_folder, tmp_path / "cache")
    process, err = forked.start(words, ROOT, tmp_path), tmp_path / "err"
    deadline = time.monotonic() + 100
    while not list(tmp_path.glob("cache/candidates/*/000001.arrow")):
        assert process.is_alive() and time.monotonic() < deadline, err.read_text()
        time.sleep(0.005)
    os.kill(process.pid, number)
    process.join()
    said = err.read_text()
    assert process.exitcode == status, said
    assert "Traceback" not in said
    assert not (tmp_path / "out.json.gz").exists(), "the run ended before it could be killed"
    forked.run(words, ROOT).check_returncode()
    assert (tmp_path / "out.json.gz").read_bytes() == expected

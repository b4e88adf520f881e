"""The one command, `tinybert`."""

import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest

from tinybert_jax import __main__ as command
from tinybert_jax.errors import run_script

ROOT = Path(__file__).parents[1]


def run(monkeypatch, capsys, *arguments):
    monkeypatch.setattr(sys, "argv", ["/usr/bin/tinybert", *arguments])
    with pytest.raises(SystemExit) as ended:
        run_script(command.main)
    out, err = capsys.readouterr()
    return ended.value.code, out, err


@pytest.mark.parametrize("arguments", [[], ["-h"], ["--help"]])
def test_the_commands_are_listed_a_line_each(monkeypatch, capsys, arguments):
    code, out, _ = run(monkeypatch, capsys, *arguments)
    assert code == 0
    for name, (_, summary) in command.COMMANDS.items():
        assert [line.split(maxsplit=1) for line in out.splitlines() if line.split()[:1] == [name]] == [[name, summary]]


@pytest.mark.parametrize("arguments", [["--version"], ["--help"]])
def test_what_needs_no_jax_does_not_load_it(arguments):
    code = (
        f"import sys; sys.argv = ['tinybert', *{arguments}]; from tinybert_jax.__main__ import main; main(); "
        "assert not {'jax', 'numpy', 'tyro'} & set(sys.modules), sorted(sys.modules)"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0, ended.stderr


def test_the_version_is_the_installed_one(monkeypatch, capsys):
    assert run(monkeypatch, capsys, "--version")[:2] == (0, f"tinybert {version('tinybert-jax')}\n")


def test_an_unknown_command_ends_in_one_line(monkeypatch, capsys):
    code, out, err = run(monkeypatch, capsys, "distil", "--fast")
    assert (code, out) == (2, "")
    names = ", ".join(command.COMMANDS)
    assert err == f"error: unknown command 'distil': one of {names} must come first\n"


WANTED = {
    "evaluate": "[MODEL]",
    "ask": "MODEL",
    "calibrate": "MODEL",
    "convert": "SOURCE DESTINATION",
    "export": "MODEL OUT",
    "certify": "FOLDER",
    "augment": "SOURCE DESTINATION",
}


@pytest.mark.parametrize("name", command.COMMANDS)
def test_each_command_s_help_names_it_and_its_arguments(monkeypatch, capsys, name):
    arguments = [name, "quickstart", "--help"] if name == "train" else [name, "--help"]
    code, out, _ = run(monkeypatch, capsys, *arguments)
    assert code == 0
    assert out.startswith(f"usage: tinybert {name} ")
    usage = " ".join(out.split("\n\n")[0].split())
    assert WANTED.get(name, "") in usage
    assert not {"STR", "PATH", "[STR]"} & set(usage.split(" --")[0].split())


def test_arguments_reach_the_command(monkeypatch, capsys, tmp_path):
    code, out, _ = run(monkeypatch, capsys, "cache", "--cache", str(tmp_path))
    assert code == 0
    assert out.endswith(f"total: 0 B in {tmp_path}\n")
    code, out, err = run(monkeypatch, capsys, "convert", "nowhere/at/all", str(tmp_path / "out"))
    assert (code, out) == (2, "")
    assert err.startswith("error: ") and len(err.splitlines()) == 1


def test_the_installed_command_is_this_one():
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert scripts == {"tinybert": "tinybert_jax.__main__:run"}

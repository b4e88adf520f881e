"""The command, on small models with random weights."""

import shutil
import sys
import warnings

import pytest

from tinybert_jax.certify import main
from tinybert_jax.errors import run_script
from tinybert_jax.store.files import read_json


@pytest.fixture
def run(monkeypatch, capsys):
    """The command line: exit status, and lines of stdout and stderr."""
    monkeypatch.setattr("tinybert_jax.run.runtime.configure", lambda: None)
    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)  # run_script sets it: put it back

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["certify", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            run_script(main)
        out, err = capsys.readouterr()
        return ended.value.code, out.splitlines(), err.splitlines()

    return run


def test_certified_and_verified_with_all_models_named(run, certified, tmp_path):
    shutil.copytree(certified / "out" / "onnx", tmp_path / "out" / "onnx")
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        shutil.copy(certified / "out" / name, tmp_path / "out" / name)
    others = [
        "--teacher",
        certified / "teacher",
        "--student",
        certified / "student",
        "--undistilled",
        certified / "plain",
    ]
    code, out, err = run(tmp_path / "out", "--data", certified / "data.json", *others)
    assert (code, err) == (0, [])
    assert [line.split(" |")[0] for line in out if line.startswith("| ")][2:] == [
        "| teacher", "| student", "| undistilled student", "| ONNX fp32", "| ONNX int8",
    ]  # fmt: skip
    by_export, by_certify = (read_json(folder / "out" / "certificate.json") for folder in (certified, tmp_path))
    for held in (by_export, by_certify):
        for row in held["models"].values():
            del row["latency_ms"]
    assert by_certify == by_export
    code, out, err = run(tmp_path / "out", "--verify")
    assert (code, err, len(out)) == (0, [], 1)
    assert out[0].endswith("agree exactly")


def test_a_change_ends_with_1_and_a_line(run, certified, tmp_path):
    shutil.copytree(certified / "out", tmp_path / "out")
    config = (tmp_path / "out" / "config.json").read_text()
    (tmp_path / "out" / "config.json").write_text(config + "\n")
    assert run(tmp_path / "out", "--verify") == (1, ["config.json has changed"], [])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{}/nowhere", "--data", "{}/data.json"], "must be a folder with a model, and there is none"),
        (["{}/student"], "give --data FILE to measure on, or --verify"),
        (["{}/student", "--data", "{}/none.json"], "none.json does not exist"),
        (["{}/student", "--data", "{}/data.json", "--teacher", "./none"], "there is no folder './none'"),
        (["{}/student", "--verify"], "has no certificate.json to verify: `tinybert certify "),
        (["{}/nowhere", "--verify"], "must be a folder with a model, and there is none"),
        (["{}/out", "--verify", "--data", "{}/none.json"], "none.json does not exist"),
    ],
    ids=["folder", "nothing", "data", "teacher", "certificate", "no folder", "verify data"],
)
def test_mistakes_exit_with_2_and_one_line(run, certified, arguments, message):
    code, out, err = run(*(argument.format(certified) for argument in arguments))
    assert (code, out, len(err)) == (2, [], 1)
    assert err[0].startswith("error: ") and message in err[0]
    assert not (certified / "student" / "certificate.json").exists()

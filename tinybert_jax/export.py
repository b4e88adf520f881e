"""Exports for other programs to run: `tinybert export MODEL OUT --to onnx|stablehlo [--int8] [--data FILE]`.

MODEL is anything that answers questions here. `onnx` writes the folder that onnxruntime, onnxruntime-web and
transformers.js expect: onnx/model.onnx, with --int8 onnx/model_int8.onnx beside it, config and tokenizer. `stablehlo`
writes model.stablehlo, which `jax.export` reads, for JAX programs that have neither this package nor Flax. With --data,
what the ONNX files score is measured and certified in the folder: see `tinybert certify`.
"""

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from tinybert_jax.data.tokenizer import check_ids_fit, load_tokenizer
from tinybert_jax.deploy import certificate
from tinybert_jax.deploy.certificate_page import table
from tinybert_jax.deploy.size import check_size
from tinybert_jax.errors import UserError, run_script
from tinybert_jax.extras import require
from tinybert_jax.hub import check_push, locate, push
from tinybert_jax.inference.settings import SETTINGS_FILE
from tinybert_jax.model import Model, load_qa_model
from tinybert_jax.model.pretrained import load_config
from tinybert_jax.store.files import atomic_path, write_json

Format = Literal["onnx", "stablehlo"]


@dataclass(frozen=True)
class Arguments:
    """Write a question-answering model for other programs to run, into a new folder, whole or not at all.

    Attributes:
        model: a hub id, or a folder in any layout `load_pretrained` reads.
        out: the folder to write; it must not exist yet.
        to: what runs it: an ONNX runtime, or JAX alone.
        int8: with onnx, writes a copy in eight bits too, about a quarter of the size.
        data: with onnx, questions with gold answers, as for `tinybert certify`: measures what the files and the model
            score, and writes certificate.json.
        teacher: with --data, the model that this one learned from, to compare with.
        undistilled: with --data, this model's twin that was trained without distillation, to compare with.
        push_to_hub: send the folder to the hub under this id, "owner/name"; id and token are checked first.
        private: with --push-to-hub, only the owner sees it.
    """

    model: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="MODEL")]
    out: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="OUT")]
    to: Format = "onnx"
    int8: bool = False
    data: str | None = None
    teacher: str | None = None
    undistilled: str | None = None
    push_to_hub: str | None = None
    private: tyro.conf.FlagCreatePairsOff[bool] = False


def export(
    model: str,
    out: Path,
    to: Format = "onnx",
    int8: bool = False,
    data: str | None = None,
    teacher: str | None = None,
    undistilled: str | None = None,
) -> None:
    """Exports a question-answering model into a new folder, whole or not at all.

    Args:
        model: a hub id, or a folder in any layout `load_pretrained` reads.
        out: the folder to write; it must not exist yet.
        to: what runs it: an ONNX runtime, or JAX alone.
        int8: with onnx, writes a copy in eight bits too, about a quarter of the size.
        data: with onnx, what the files and the model are measured on for a certificate; None for none.
        teacher: with data, what else to compare with.
        undistilled: likewise.

    Raises:
        UserError: the model cannot be loaded, has no trained head or no tokenizer, or is too large for one file; the
            folder exists; the extra "onnx" is not installed; or, with data, as `certificate.certify`.
    """
    _check(out, to, int8, data is not None, bool(teacher or undistilled))
    others = certificate.others(teacher, model, undistilled)
    questions = None if data is None else certificate.read_questions(data, others)
    folder = locate(model)
    check_size(load_config(folder))
    tokenizer = load_tokenizer(folder)
    loaded = load_qa_model(model)
    check_ids_fit(model, tokenizer, loaded.config.vocab_size)
    with atomic_path(out) as temporary:
        temporary.mkdir()
        write_json(temporary / "config.json", loaded.config.to_transformers())
        tokenizer.save_pretrained(str(temporary))
        if (folder / SETTINGS_FILE).is_file():
            shutil.copyfile(folder / SETTINGS_FILE, temporary / SETTINGS_FILE)
        if to == "onnx":
            _write_onnx(loaded, temporary / "onnx", int8)
        else:
            _write_stablehlo(loaded, temporary / "model.stablehlo")
        if questions is not None:
            print(table(certificate.certify(temporary, questions, others)))
    for path in sorted(path for path in out.rglob("model*") if path.is_file()):
        print(f"{path}  {path.stat().st_size / 1e6:.1f} MB")


def _check(out: Path, to: Format, int8: bool, certified: bool, compared: bool) -> None:
    """Refuses what can be refused before anything is read."""
    if out.exists():
        raise UserError(f"{out} exists already: name a new folder, or remove that one first")
    if int8 and to != "onnx":
        raise UserError(f"--int8 belongs to --to onnx, got --to {to}: leave it out")
    if certified and to != "onnx":
        raise UserError(f"--data, for a certificate, belongs to --to onnx, got --to {to}: leave it out")
    if compared and not certified:
        raise UserError("--teacher and --undistilled are for a certificate: give the --data to measure on, too")
    if to == "onnx":
        for package in ("onnx", "onnxruntime"):
            require(package, "onnx")


def _write_onnx(model: Model, folder: Path, int8: bool) -> None:
    from tinybert_jax.deploy.onnx import to_onnx

    network = to_onnx(*model)
    folder.mkdir()
    (folder / "model.onnx").write_bytes(network.SerializeToString())
    if int8:
        from tinybert_jax.deploy.quantisation import write_int8

        write_int8(network, folder / "model_int8.onnx")


def _write_stablehlo(model: Model, path: Path) -> None:
    from tinybert_jax.deploy.stablehlo import to_stablehlo

    path.write_bytes(to_stablehlo(model))


def main() -> None:
    """The command line."""
    arguments = vars(tyro.cli(Arguments, prog="tinybert export")).copy()
    name, private = arguments.pop("push_to_hub"), arguments.pop("private")
    if private and name is None:
        raise UserError("--private says how to push: give --push-to-hub ID too")
    if name is not None:
        check_push(name, private)
    if arguments["data"] is not None:  # networks will run here
        from tinybert_jax.run.runtime import configure

        configure()
    export(**arguments)
    if name is not None:
        print(f"pushed to {push(arguments['out'], name, private=private)}", file=sys.stderr)


if __name__ == "__main__":
    run_script(main)

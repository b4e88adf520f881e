"""The certificate of a model's folder: what its very files score, next to the models that they came from.

`certificate.json` lies in the folder, and a table of it in the folder's README.md. Every other file's digest is in
it, so that it can be told whether the files are still those that were measured (`deploy/verify.py`).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tinybert_jax.data import Example, read_squad
from tinybert_jax.data.example import questions_digest
from tinybert_jax.data.tokenizer import tokenizer_digest
from tinybert_jax.deploy.certificate_page import write_table
from tinybert_jax.deploy.measure import (
    answered_by,
    differences,
    latency,
    machine,
    parameters,
    score,
    timed,
    versions,
)
from tinybert_jax.errors import UserError
from tinybert_jax.hub import WEIGHTS
from tinybert_jax.inference.loading import Loaded, find, load, weights_digest, weights_files
from tinybert_jax.inference.onnx_network import FILES
from tinybert_jax.store.digests import file_digest
from tinybert_jax.store.files import read_json, write_json

CERTIFICATE = "certificate.json"
CARD = "README.md"
TEACHER, STUDENT, UNDISTILLED = "teacher", "student", "undistilled student"
EXPORTS = dict(zip(FILES, ("ONNX fp32", "ONNX int8"), strict=True))
GOLDS, TEACHERS = "the data's answers", "the teacher's answers"
_FORMAT = 1
_NUMBER = (int, float)
# What a certificate must hold to be verified: names to types; of [kind], any names.
_SHAPE = {
    "data": {"source": str, "questions": int, "digest": str, "scored_against": str},
    "measured_on": {"processor": str, "threads": int, "device": str},
    "versions": [str],
    "models": [{"model": str, "is_here": bool, "weights": str, "tokenizer": str, "exact": _NUMBER, "f1": _NUMBER}],
    "files": [str],
}


class Questions(NamedTuple):
    """What models are measured on.

    Attributes:
        source: as in `read_squad`.
        examples: the questions.
    """

    source: str
    examples: Sequence[Example]

    @property
    def have_golds(self) -> bool:
        """Whether any question has a gold answer."""
        return any(example.answers for example in self.examples)


class Measured(NamedTuple):
    """A model to be measured.

    Attributes:
        model: what `load` takes.
        is_here: whether it is a part of the certified folder.
    """

    model: str
    is_here: bool


def others(teacher: str | None, student: str | None, undistilled: str | None) -> dict[str, str]:
    """Those models that are given, by label."""
    given = {TEACHER: teacher, STUDENT: student, UNDISTILLED: undistilled}
    return {label: model for label, model in given.items() if model is not None}


def read_questions(source: str, others: Mapping[str, str]) -> Questions:
    """Reads what models are to be measured on, and finds those from elsewhere, before anything is measured.

    Args:
        source: as in `read_squad`.
        others: models outside of the folder, by the labels of this module.

    Raises:
        UserError: as `read_squad`, no question holds text, there are neither gold answers nor a teacher to give
            some, or a model is not there.
    """
    questions = Questions(source, read_squad(source, check_offsets=False))
    if not timed(questions.examples):
        raise UserError(f"{source} must hold a question and a context that are not empty, got none: nothing to answer")
    if not questions.have_golds and TEACHER not in others:
        raise UserError(
            f"{source} has no gold answer to any question: give a --teacher, whose answers the models are then "
            "measured against, or other data"
        )
    for model in others.values():
        find(model)
    return questions


def models_of(folder: Path, others: Mapping[str, str]) -> dict[str, Measured]:
    """The models that a certificate compares, by label: those of the folder, and the others.

    Args:
        folder: of transformers' layout, an export, or both.
        others: as in `read_questions`.

    Raises:
        UserError: no such folder, it holds no model, or a student is given to a folder that holds one.
    """
    _check_folder(folder)
    parts = {STUDENT: "."} if any((folder / name).exists() for name in WEIGHTS) else {}
    parts |= {label: name for name, label in EXPORTS.items() if (folder / name).is_file()}
    if not parts:
        raise UserError(f"{folder} holds nothing to measure: one of {', '.join((*WEIGHTS, *FILES))} must be there")
    if STUDENT in parts and STUDENT in others:
        raise UserError(f"{folder} holds the student's weights itself: leave --student {others[STUDENT]} out")
    models = {label: Measured(model, False) for label, model in others.items()}
    models |= {label: Measured(str(folder / name), True) for label, name in parts.items()}
    return {label: models[label] for label in (TEACHER, STUDENT, UNDISTILLED, *EXPORTS.values()) if label in models}


def certify(folder: Path, questions: Questions, others: Mapping[str, str]) -> dict[str, Any]:
    """Measures a folder's models and those given, and writes the certificate and its table into the folder.

    Args:
        folder: the models'; a certificate that it holds is replaced.
        questions: what they are measured on.
        others: models to compare with, by label; the folder's differences are to the teacher and to the student.

    Returns:
        The certificate.

    Raises:
        UserError: as `models_of`, `load` or `score`; nothing is written.
    """
    models = models_of(folder, others)
    loaded = {label: load(measured.model) for label, measured in models.items()}
    examples = questions.examples if questions.have_golds else answered_by(loaded[TEACHER], questions.examples)
    scored = {label: score(model, examples) for label, model in loaded.items()}
    apart = differences(scored, [label for label in (TEACHER, _reference(models)) if label in models])
    asked = timed(questions.examples)
    rows = {
        label: {
            **_identity(folder, measured, loaded[label]),
            **scored[label].figures,
            "differences": apart[label],
            "latency_ms": latency(loaded[label], asked),
        }
        for label, measured in models.items()
    }
    certificate = {
        "format": _FORMAT,
        "data": {
            "source": questions.source,
            "questions": len(examples),
            "digest": questions_digest(questions.examples),
            "scored_against": GOLDS if questions.have_golds else TEACHERS,
        },
        "measured_on": {**machine(), "timed_questions": len(asked)},
        "versions": versions(),
        "models": rows,
        "files": file_digests(folder),
    }
    write_table(folder / CARD, certificate)
    write_json(folder / CERTIFICATE, certificate)
    return certificate


def _identity(folder: Path, measured: Measured, model: Loaded) -> dict[str, Any]:
    """Which model a row is of: where it is, how large, and digests of its weights and its tokenizer."""
    return {
        "model": Path(measured.model).relative_to(folder).as_posix() if measured.is_here else measured.model,
        "is_here": measured.is_here,
        "weights": weights_digest(measured.model),
        "tokenizer": tokenizer_digest(model.tokenizer),
        "bytes": sum(path.stat().st_size for path in weights_files(measured.model)),
        "parameters": parameters(model),
    }


def file_digests(folder: Path) -> dict[str, str]:
    """SHA-256 digests of a folder's files, by their paths in it.

    The certificate and the card are left out, as they hold the result, and so is all that is hidden: what git and the
    hub's clients keep for themselves.
    """
    paths = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    hidden = {name for name in paths if any(part.startswith(".") for part in name.split("/"))}
    return {name: file_digest(path) for name, path in paths.items() if name not in {CERTIFICATE, CARD, *hidden}}


def read_certificate(folder: Path) -> dict[str, Any]:
    """Reads a folder's certificate.

    Raises:
        UserError: no such folder or certificate, or it is damaged.
    """
    _check_folder(folder)
    path = folder / CERTIFICATE
    if not path.is_file():
        raise UserError(f"{folder} has no {CERTIFICATE} to verify: `tinybert certify {folder} --data FILE` writes one")
    certificate = read_json(path)
    try:
        if not isinstance(certificate, dict) or certificate.get("format") != _FORMAT:
            raise UserError(f'it must be a JSON object with "format": {_FORMAT}')
        _check_shape(certificate, _SHAPE, "it")
    except UserError as error:
        raise UserError(f"{path} is no certificate of ours: {error}") from error
    return certificate


def _check_folder(folder: Path) -> None:
    if not folder.is_dir():
        raise UserError(f"{folder} must be a folder with a model, and there is none: `tinybert export` writes one")


def _check_shape(value: Any, shape: Any, where: str) -> None:
    if isinstance(shape, (dict, list)):
        if not isinstance(value, dict):
            raise UserError(f"{where} must be an object, got {value!r:.60}")
        shapes_ = shape if isinstance(shape, dict) else dict.fromkeys(value, shape[0])
        for name, inner in shapes_.items():
            if name not in value:
                raise UserError(f"{where} has no {name!r}")
            _check_shape(value[name], inner, f"{where}: {name}")
    elif not isinstance(value, shape) or (isinstance(value, bool) and shape is not bool):
        names = " or ".join(kind.__name__ for kind in (shape if isinstance(shape, tuple) else (shape,)))
        raise UserError(f"{where} must be of type {names}, got {value!r:.60}")


def _reference(models: Mapping[str, Measured]) -> str:
    """What stands for the student in float32: its own weights, or their export where these are not at hand."""
    return STUDENT if STUDENT in models else EXPORTS[FILES[0]]

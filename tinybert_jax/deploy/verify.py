"""A certified folder measured again: which files are no longer those that were certified, and which figures."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from tinybert_jax.data.example import questions_digest
from tinybert_jax.data.tokenizer import tokenizer_digest
from tinybert_jax.deploy.certificate import (
    EXPORTS,
    TEACHER,
    Measured,
    Questions,
    file_digests,
    read_certificate,
    read_questions,
)
from tinybert_jax.deploy.measure import answered_by, machine, score, versions
from tinybert_jax.errors import UserError, check
from tinybert_jax.inference.loading import find, load, weights_digest
from tinybert_jax.inference.onnx_network import FILES

# Where sums are rounded in another order, on another processor or number of threads or by another version of a package,
# so large a part of the questions may score otherwise. In float32 it is an upper guess: between JAX and onnxruntime,
# which round differently too, no figure moved on 1,431 questions. Eight-bit products differ more, as processors
# without VNNI saturate their sums in sixteen bits: with exact sums 11 of the 1,431 scored otherwise, EM by -0.07 and F1
# by +0.03 (the quickstart's student, an AMD EPYC with AVX2 alone).
_MOVED, _MOVED_INT8 = 0.001, 0.01
_LABELS = {"exact": "EM", "f1": "F1"}


class Verdict(NamedTuple):
    """What came of a verification.

    Attributes:
        differences: what is no longer as it was certified, a line each; none where all is.
        notes: what was not measured again, and what else the reader may want to know.
        summary: what was compared, and how closely, in one line.
    """

    differences: list[str]
    notes: list[str]
    summary: str


def verify(folder: Path, data: str | None = None, others: Mapping[str, str] | None = None) -> Verdict:
    """Compares a folder with its certificate: the digests of its files, and EM and F1, measured again.

    Latency is the machine's and is not measured again. Intervals and differences follow from the same answers.

    Args:
        folder: with a certificate.
        data: where the certificate's questions are; None for where they were.
        others: where models outside of the folder are, by label, for those that are no longer where they were.

    Raises:
        UserError: as `read_certificate`; the data holds other questions than the certificate's, or is given and cannot
            be read; or a model is given that the certificate does not have from elsewhere, or is not there.
    """
    certificate, others = read_certificate(folder), others or {}
    elsewhere = [label for label, row in certificate["models"].items() if not row["is_here"]]
    for label, model in others.items():
        named = ", ".join(elsewhere) or "none"
        check(f"the {label}", model, label in elsewhere, f"among the certificate's models from elsewhere: {named}")
        find(model)
    models, notes = _models(folder, certificate, others)
    questions, missing = _questions(certificate, data, models)
    lines = _changed_files(certificate["files"], file_digests(folder))
    said = f"its {len(certificate['files'])} files are those that were certified"
    if questions is not None:
        is_same = not (changes := _surroundings(certificate))
        notes += changes
        lines += _changed_models(certificate, models, questions, is_same)
        said += f", and EM and F1 of {', '.join(models)} agree {_how_closely(is_same, len(questions.examples))}"
    return Verdict(lines, notes + missing, f"{folder}: {said}")


def _models(
    folder: Path, certificate: Mapping[str, Any], others: Mapping[str, str]
) -> tuple[dict[str, Measured], list[str]]:
    """The certificate's models that are at hand, by label, and a line for each of the rest."""
    models, notes = {}, []
    for label, row in certificate["models"].items():
        model = str(folder / row["model"]) if row["is_here"] else others.get(label, row["model"])
        try:
            if not row["is_here"]:
                find(model)
            models[label] = Measured(model, row["is_here"])
        except UserError as error:
            notes.append(f"the {label} is not measured again: {error}")
    return models, notes


def _questions(
    certificate: Mapping[str, Any], data: str | None, models: Mapping[str, Measured]
) -> tuple[Questions | None, list[str]]:
    """The certificate's questions; or None, and a line that says why."""
    recorded = certificate["data"]
    source = recorded["source"] if data is None else data
    try:
        elsewhere = {label: measured.model for label, measured in models.items() if not measured.is_here}
        questions = read_questions(source, elsewhere)
    except UserError as error:
        if data is not None:
            raise
        return None, [f"without --data FILE nothing is measured again, only the files are compared: {error}"]
    digest = questions_digest(questions.examples)
    if digest != recorded["digest"]:
        raise UserError(
            f"{source} must hold the {recorded['questions']} questions that were certified, with their contexts and "
            f"answers, SHA-256 {recorded['digest'][:12]}…, got {len(questions.examples)}, SHA-256 {digest[:12]}…: give "
            "that file as --data, or certify the folder on this one"
        )
    return questions, []


def _changed_files(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    words = [(now.keys() - before.keys(), "was not there"), (before.keys() - now.keys(), "is missing")]
    words.append(({name for name in now.keys() & before.keys() if now[name] != before[name]}, "has changed"))
    return sorted(f"{name} {what}" for names, what in words for name in names)


def _changed_models(
    certificate: Mapping[str, Any], models: Mapping[str, Measured], questions: Questions, is_same: bool
) -> list[str]:
    lines, examples = [], questions.examples
    for label, measured in models.items():  # a teacher comes first
        row = certificate["models"][label]
        try:
            model = load(measured.model)
            if label == TEACHER and not questions.have_golds:
                examples = answered_by(model, examples)
            figures = score(model, examples).figures
        except UserError as error:
            lines.append(f"{label}: cannot be measured: {error}")
            continue
        digests = {"weights": weights_digest(measured.model), "tokenizer": tokenizer_digest(model.tokenizer)}
        if not measured.is_here:  # else its files have been compared
            lines += [f"{label}: {measured.model} has other {name}" for name in digests if digests[name] != row[name]]
        tolerance = 0.0 if is_same else _tolerance(label, len(examples))
        lines += [
            f"{label}: {name} was {row[key]:.4f}, is {figures[key]:.4f}"
            for key, name in _LABELS.items()
            if not abs(row[key] - figures[key]) <= tolerance
        ]
    return lines


def _tolerance(label: str, questions: int) -> float:
    """How far a figure, in percent, may move by rounding: four standard deviations, and at least by one question.

    Of the questions that score otherwise as many gain as lose, so that their number decides the spread of the mean.
    """
    moved = _MOVED_INT8 if label == EXPORTS[FILES[1]] else _MOVED
    return 100 * max(4 * math.sqrt(moved / questions), 1 / questions) + 1e-4


def _how_closely(is_same: bool, questions: int) -> str:
    if is_same:
        return "exactly"
    apart, apart_int8 = (_tolerance(EXPORTS[name], questions) for name in FILES)
    return (
        f"within {apart:.2f}, in int8 {apart_int8:.2f}: other processors, threads or versions than the certificate's "
        "round differently"
    )


def _surroundings(certificate: Mapping[str, Any]) -> list[str]:
    """What rounds differently than where the certificate was made, a line each."""
    before = {**certificate["measured_on"], **certificate["versions"]}
    now = {**machine(), **versions()}
    names = dict.fromkeys((*now, *certificate["versions"]))
    return [
        f"{name}: {before.get(name, 'none')} in the certificate, {now.get(name, 'none')} here"
        for name in names
        if before.get(name) != now.get(name)
    ]

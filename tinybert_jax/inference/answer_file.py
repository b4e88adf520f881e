"""Questions from a JSON Lines file, answers to another: streamed, and continued where a killed run left off.

Answers are appended, a line each, to `answers.jsonl` in a folder beside the output, which `settings.json` there makes
this very job's; when all are there the file is renamed to the output.
"""

import hashlib
import json
import shutil
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from filelock import FileLock, Timeout

from tinybert_jax.errors import UserError
from tinybert_jax.inference.answerer import Answer, Answerer, Passages, check_text
from tinybert_jax.store.files import read_json, write_json


class Question(NamedTuple):
    """A line of the input; one that cannot be used has an error in place of passages.

    Attributes:
        line: its number, from 1.
        id: as given, a text or a whole number.
        question: the question.
        passages: one, or several.
        error: what is wrong with the line; empty where nothing is.
    """

    line: int
    id: str | int | None
    question: str
    passages: Passages
    error: str = ""


def read_questions(path: Path) -> Iterator[Question]:
    """Yields the questions of a JSON Lines file, {"id", "question", "context"} each; blank lines are passed over.

    A context is a text, or a list of texts that are searched together. Lines are checked one by one, and a bad one
    does not end the iteration: it carries its error.

    Raises:
        UserError: the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield _question(line, number)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error


class Counts(NamedTuple):
    """How many lines a file of questions has, and how many of these cannot be used."""

    total: int
    bad: int


def check_questions(path: Path, skip_bad: bool) -> Counts:
    """Reads all of a JSON Lines file and counts its questions.

    Raises:
        UserError: the file cannot be read or holds nothing; or, unless they are skipped, a line is bad.
    """
    total = bad = 0
    for question in read_questions(path):
        total += 1
        bad += bool(question.error)
        if question.error and not skip_bad:
            raise UserError(f"{path}, line {question.line}: {question.error}; correct it, or pass over with --skip-bad")
    if not total:
        raise UserError(f"{path} holds no question: a line for each is needed")
    return Counts(total, bad)


def answer_file(answerer: Answerer, source: Path, output: Path, total: int, top_k: int, job: dict[str, Any]) -> None:
    """Answers all questions of `source` and writes the answers to `output`, a line for each question in their order.

    Args:
        answerer: what answers.
        source: as `read_questions` has it; lines that carry an error get a line with that error.
        output: written when all is answered; a job that was cut off before continues after its last line.
        total: how many questions there are, for the progress bar.
        top_k: the most answers to a question.
        job: what else decides the answers, as JSON: one that was begun with another is not continued.

    Raises:
        UserError: another process writes this output, or it was begun with other settings.
    """
    from tqdm import tqdm

    with source.open("rb") as file:
        job = {**job, "questions": hashlib.file_digest(file, "sha256").hexdigest()}
    folder = output.parent / f".{output.name}.unfinished"
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / "lock", timeout=0):
            done = _resume(folder, job)
            progress = {"total": total, "initial": done, "unit": "question", "disable": None, "leave": False}
            with (folder / "answers.jsonl").open("a", encoding="utf-8") as file, tqdm(**progress) as bar:
                for question, answers in _answered(answerer, islice(read_questions(source), done, None), top_k):
                    file.write(json.dumps(_line(question, answers), ensure_ascii=False) + "\n")
                    bar.update()
            (folder / "answers.jsonl").replace(output)
            (folder / "settings.json").unlink()
    except Timeout as error:
        raise UserError(f"another process is writing {output}: wait for it, or name another --output") from error
    shutil.rmtree(folder, ignore_errors=True)


def _resume(folder: Path, job: dict[str, Any]) -> int:
    """How many lines of this job are there already; a line that was cut off is removed."""
    settings, answers = folder / "settings.json", folder / "answers.jsonl"
    if settings.exists() and (begun := read_json(settings)) != job:
        differing = sorted(name for name in begun.keys() | job.keys() if begun.get(name) != job.get(name))
        raise UserError(
            f"these answers were begun with other settings ({', '.join(differing)}): repeat the command they were "
            f"begun with, or remove {folder} to begin again"
        )
    if not settings.exists():
        answers.unlink(missing_ok=True)
        write_json(settings, job)
    answers.touch()
    with answers.open("rb+") as file:
        lines = size = 0
        for line in file:
            if line.endswith(b"\n"):
                lines, size = lines + 1, size + len(line)
        file.truncate(size)
    return lines


def _answered(
    answerer: Answerer, questions: Iterator[Question], top_k: int
) -> Iterator[tuple[Question, list[Answer] | None]]:
    """Each question with its answers, None for a bad line, in their order."""
    waiting: list[Question] = []  # read from the file, not answered yet: `many` reads ahead

    def pairs() -> Iterator[tuple[str, Passages]]:
        for question in questions:
            waiting.append(question)
            if not question.error:
                yield question.question, question.passages

    for answers in answerer.many(pairs(), top_k):
        while waiting[0].error:
            yield waiting.pop(0), None
        yield waiting.pop(0), answers
    yield from ((question, None) for question in waiting)


def _line(question: Question, answers: list[Answer] | None) -> dict[str, Any]:
    if answers is None:
        return {"id": question.id, "line": question.line, "error": question.error}
    best, *others = (answer._asdict() for answer in answers)
    return {"id": question.id, **best, **({"others": others} if others else {})}


def _question(line: bytes, number: int) -> Question:
    name: Any = None
    try:
        fields: Any = json.loads(line)
        if not isinstance(fields, dict):
            raise UserError(f"a line must be a JSON object, got {type(fields).__name__}")
        name = fields.get("id")
        question: Any = fields.get("question")
        passages: Any = fields.get("context")
        if type(name) not in (str, int):
            raise UserError(f'"id" must be a text or a whole number, got {name!r:.60}')
        if passages == []:
            raise UserError('"context" must be a text or a list of texts, got an empty list')
        for passage in passages if isinstance(passages, list) else [passages]:
            check_text(question, passage, f"question {name!r}")
    except UserError as error:
        return Question(number, name if type(name) in (str, int) else None, "", "", str(error))
    except (ValueError, RecursionError) as error:
        return Question(number, None, "", "", f"not valid JSON: {error}")
    return Question(number, name, question, passages)

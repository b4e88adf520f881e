"""Questions in JSON Lines, {"id", "question", "context"} each: what people ask, and nobody has answered."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tinybert_jax.data.example import Example
from tinybert_jax.errors import UserError
from tinybert_jax.store.files import reading

Passages = str | Sequence[str]


class Question(NamedTuple):
    """A line of the input; one that cannot be used has an error in place of passages.

    Attributes:
        line: its number, from 1.
        id: as given, a text or a whole number.
        question: the question.
        passages: one, or several.
        error: what is wrong with the line; empty where nothing is.
        has_answers: whether the line brings answers, which `ask` passes over.
    """

    line: int
    id: str | int | None
    question: str
    passages: Passages
    error: str = ""
    has_answers: bool = False


def read_questions(path: Path) -> Iterator[Question]:
    """Yields the questions of a JSON Lines file, {"id", "question", "context"} each; blank lines are passed over.

    The file may be gzipped. A context is a text, or a list of texts that are searched together. Lines are checked one
    by one, and a bad one does not end the iteration: it carries its error.

    Raises:
        UserError: the file cannot be read.
    """
    with reading(path) as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                yield _question(line, number)


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
            raise UserError(
                f'{path}, line {question.line}: {question.error}; each line is one {{"id", "question", "context"}}: '
                "correct it, or pass over bad lines with --skip-bad"
            )
    if not total:
        raise UserError(f"{path} holds no question: a line for each is needed")
    return Counts(total, bad)


def read_unlabelled(source: str, _: bool = False) -> list[Example]:
    """Reads all questions of a JSON Lines file, a text as the context of each, as examples without labels.

    Raises:
        UserError: the file cannot be read, or a line is bad, has several contexts, or has answers.
    """
    examples, contexts = [], {}
    for line in read_questions(Path(source)):
        where = f"{source}, line {line.line}"
        if line.error:
            raise UserError(f"{where}: {line.error}")
        if not isinstance(line.passages, str):
            raise UserError(f'{where}: "context" must be one text here, got a list: write a line for each')
        if line.has_answers:
            raise UserError(
                f'{where} has "answers", and a .jsonl file is of questions without: leave them out, or give labelled '
                "questions in SQuAD's JSON, as docs/data.md shows"
            )
        context = contexts.setdefault(line.passages, line.passages)  # questions about one text share it
        examples.append(Example(str(line.id), line.question, context, (), is_labelled=False))
    return examples


def check_text(question: object, passage: object, where: str) -> None:
    """Checks that a question and its passage hold text.

    Raises:
        UserError: either is no string, not valid Unicode, or nothing but spaces.
    """
    for name, text in (("question", question), ("context", passage)):
        if not isinstance(text, str) or not text.strip():
            raise UserError(f"{where}: the {name} must be a text that is not empty, got {text!r:.60}")
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise UserError(f"{where}: the {name} is not valid Unicode text: {error}") from error


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
    return Question(number, name, question, passages, has_answers="answers" in fields)

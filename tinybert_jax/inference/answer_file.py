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
from typing import Any

from filelock import FileLock, Timeout

from tinybert_jax.data.question_lines import Passages, Question, read_questions
from tinybert_jax.errors import UserError
from tinybert_jax.inference.answerer import Answer, Answerer
from tinybert_jax.store.files import read_json, write_json


def answer_file(answerer: Answerer, source: Path, output: Path, total: int, top_k: int, job: dict[str, Any]) -> None:
    """Answers all questions of `source` and writes the answers to `output`, a line for each question in their order.

    Args:
        answerer: what answers.
        source: as in `read_questions`; lines that carry an error get a line with that error.
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

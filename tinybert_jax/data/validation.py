"""The rules that every data set keeps: a source of any kind gives rows, which become examples here."""

import reprlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from tinybert_jax.data.example import Example, GoldAnswer
from tinybert_jax.errors import UserError


class Row(NamedTuple):
    """A question as a source holds it, not checked yet.

    Attributes:
        where: its place, for messages: the source, and the question's number in it.
        fields: an object with id, question, context and answers, and maybe title and is_impossible. The answers are a
            list of {"text", "answer_start"}, or one such object of two lists, as hub data sets have it.
    """

    where: str
    fields: Any


def paragraph_rows(paragraph: Any, title: str, where: str) -> Iterator[Row]:
    """The rows of a paragraph in SQuAD's layout: a context, and the questions about it as `qas`.

    Raises:
        UserError: the paragraph lacks either.
    """
    shared = {"context": field(paragraph, "context", str, where), "title": title}
    for q, qa in enumerate(field(paragraph, "qas", list, where)):
        yield Row(f"{where}.qas[{q}]", {**qa, **shared} if isinstance(qa, dict) else qa)


def to_example(row: Row, check_offsets: bool) -> Example:
    """Checks a row and makes an example of it.

    Args:
        row: the question.
        check_offsets: as in `read_squad`.

    Raises:
        UserError: a field is missing, of another type or not Unicode; `is_impossible` and the answers contradict each
            other; there are more texts than offsets, or fewer; an answer is not at its offset.
    """
    where, fields = row
    id_ = str(field(fields, "id", (str, int), where))
    question = field(fields, "question", str, where)
    context = field(fields, "context", str, where)
    answers = _answers(fields, where, check_offsets)
    title = field(fields, "title", str, where) if "title" in fields else ""
    is_impossible = field(fields, "is_impossible", bool, where) if "is_impossible" in fields else not answers
    if is_impossible == bool(answers):
        raise UserError(
            f"{where}, question {id_!r}: is_impossible is {str(is_impossible).lower()}, yet it has "
            f"{len(answers)} answers: a question is either impossible or has at least one answer"
        )
    example = Example(id_, question, context, answers, title)
    if check_offsets:
        _check_offsets(example, where)
    return example


def hold(rows: Iterable[Row], check_offsets: bool) -> list[Example]:
    """All rows as examples; those of one context share it.

    Raises:
        UserError: as `to_example`.
    """
    examples, contexts = [], {}
    for row in rows:
        example = to_example(row, check_offsets)
        context = contexts.setdefault(example.context, example.context)
        examples.append(example if context is example.context else replace(example, context=context))
    return examples


def check_whole(examples: Sequence[Example], source: str) -> None:
    """Reads all examples once, and checks what holds for them together.

    Takes 8 bytes a question, so that data of any size can be checked.

    Raises:
        UserError: as `to_example`, there is no question, or an id repeats.
    """
    hashes = np.fromiter((hash(example.id) for example in examples), np.int64)
    if not len(hashes):
        raise UserError(f"{source} holds no question: at least one is needed")
    distinct, counts = np.unique(hashes, return_counts=True)
    suspected = set(distinct[counts > 1].tolist())
    if not suspected:
        return
    ids = Counter(example.id for example in examples if hash(example.id) in suspected)
    repeated = [id_ for id_, count in ids.items() if count > 1]
    if repeated:
        named = ", ".join(map(repr, repeated[:5])) + (", …" if len(repeated) > 5 else "")
        raise UserError(f"{source}: every question needs an id of its own, {len(repeated)} repeat: {named}")


def field(node: Any, key: str, kind: type | tuple[type, ...], where: str) -> Any:
    """Returns `node[key]`, checked to be there and of its kind; text is checked to be valid Unicode.

    Raises:
        UserError: it is not.
    """
    if not isinstance(node, dict):
        raise UserError(f"{where} must be an object with the key {key!r}, got {_brief(node)}")
    if key not in node:
        raise UserError(f"{where} has no {key!r}: not SQuAD's layout")
    value = node[key]
    kinds = kind if isinstance(kind, tuple) else (kind,)
    # true and false are integers to Python, and to nobody who wrote them
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        names = " or ".join(kind.__name__ for kind in kinds)
        raise UserError(f"{where}: {key!r} must be of type {names}, got {_brief(value)}")
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise UserError(f"{where}: {key!r} is not valid Unicode text: {error}") from error
    return value


def _answers(fields: Any, where: str, check_offsets: bool) -> tuple[GoldAnswer, ...]:
    golds = field(fields, "answers", (list, dict), where)
    if isinstance(golds, dict):
        golds = _transposed(golds, f"{where}.answers", check_offsets)
    answers = []
    for g, gold in enumerate(golds):
        gold_where = f"{where}.answers[{g}]"
        text = field(gold, "text", str, gold_where)
        known = check_offsets or "answer_start" in gold
        answers.append(GoldAnswer(text, field(gold, "answer_start", int, gold_where) if known else -1))
    return tuple(answers)


def _transposed(golds: dict[str, Any], where: str, check_offsets: bool) -> list[dict[str, Any]]:
    """Answers given as a list of texts and one of offsets, as a list of answers."""
    texts = field(golds, "text", list, where)
    if not check_offsets and "answer_start" not in golds:
        return [{"text": text} for text in texts]
    starts = field(golds, "answer_start", list, where)
    if len(texts) != len(starts):
        raise UserError(
            f"{where}: every text needs an answer_start, and each of these a text, got {len(texts)} and {len(starts)}"
        )
    return [{"text": text, "answer_start": start} for text, start in zip(texts, starts, strict=True)]


def _check_offsets(example: Example, where: str) -> None:
    for text, start in example.answers:
        if start < 0 or not text or not example.context.startswith(text, start):
            found = example.context[max(start, 0) : max(start, 0) + max(len(text), 10)]
            raise UserError(
                f"{where}, question {example.id!r}: the answer {text!r} is not at its offset {start} of the "
                f"context, where {found!r} stands: correct 'answer_start' or drop the question"
            )


def _brief(value: Any) -> str:
    text = reprlib.repr(value)  # plain `repr` fails where values are nested almost too deeply to be read
    return text if len(text) <= 60 else f"{text[:60]}…"

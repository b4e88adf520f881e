"""SQuAD 1.1 and 2.0: JSON files (plain or gzipped) and hub data sets, read into validated examples."""

import gzip
import json
import re
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tinybert_jax.data.arrow import ArrowExamples
from tinybert_jax.data.example import Answer, Example
from tinybert_jax.errors import UserError

_HUB_SOURCE = re.compile(r"(?P<name>[\w.-]+/[\w.-]+):(?P<split>[\w.-]+)")


def read_squad(source: str | Path, *, check_offsets: bool = True) -> list[Example]:
    """Reads and validates SQuAD 1.1 or 2.0 data.

    Args:
        source: a JSON file in SQuAD's layout, plain or gzipped, an .arrow file of ours, or a hub data set and split
            such as "rajpurkar/squad_v2:validation". A path that exists is always read as a file.
        check_offsets: verify that every answer stands at its offset. Scoring needs the answers' texts alone
            and reads with False; a missing offset then becomes -1.

    Returns:
        The questions in the data's order. Without an `is_impossible` key (SQuAD 1.1, hub data sets) a
        question is unanswerable if it has no answers. Integer ids become strings.

    Raises:
        UserError: the source is missing, unreadable, not SQuAD or holds no question; an id repeats; an answer
            is not at its offset; `is_impossible` and the answers contradict each other.
    """
    hub = _HUB_SOURCE.fullmatch(str(source))
    if Path(source).suffix == ".arrow":
        examples = list(_arrow_examples(Path(source), check_offsets))
    elif Path(source).exists():
        examples = list(_file_examples(_read_json(Path(source)), str(source), check_offsets))
    elif hub and Path(source).suffix not in {".json", ".gz"}:
        examples = list(_hub_examples(hub["name"], hub["split"], check_offsets))
    else:
        raise UserError(
            f"{source} does not exist: give a SQuAD JSON file (.json or .json.gz), "
            'or a hub data set and split such as "rajpurkar/squad_v2:validation"'
        )
    if not examples:
        raise UserError(f"{source} holds no question: at least one is needed")
    repeated = [id_ for id_, count in Counter(example.id for example in examples).items() if count > 1]
    if repeated:
        named = ", ".join(map(repr, repeated[:5])) + (", …" if len(repeated) > 5 else "")
        raise UserError(f"{source}: every question needs an id of its own, {len(repeated)} repeat: {named}")
    return examples


def _read_json(path: Path) -> Any:
    try:
        content = path.read_bytes()
        if content.startswith(b"\x1f\x8b"):  # gzip, whatever the file is called
            content = gzip.decompress(content)
        return json.loads(content)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UserError(f"{path} is a damaged gzip file: {error}") from error
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not valid JSON: {error}") from error


def _file_examples(squad: Any, path: str, check_offsets: bool) -> Iterator[Example]:
    for a, article in enumerate(_field(squad, "data", list, f"{path}: the top level")):
        where = f"{path}: data[{a}]"
        paragraphs = _field(article, "paragraphs", list, where)
        title = _field({"title": "", **article}, "title", str, where)
        for p, paragraph in enumerate(paragraphs):
            where = f"{path}: data[{a}].paragraphs[{p}]"
            context = _field(paragraph, "context", str, where)
            for q, qa in enumerate(_field(paragraph, "qas", list, where)):
                yield _file_example(qa, context, title, f"{where}.qas[{q}]", check_offsets)


def _file_example(qa: Any, context: str, title: str, where: str, check_offsets: bool) -> Example:
    id_ = str(_field(qa, "id", (str, int), where))
    question = _field(qa, "question", str, where)
    golds = _field(qa, "answers", list, where)
    is_impossible = _field({"is_impossible": not golds, **qa}, "is_impossible", bool, where)
    if is_impossible == bool(golds):
        raise UserError(
            f"{where}, question {id_!r}: is_impossible is {str(is_impossible).lower()}, yet it has "
            f"{len(golds)} answers: a question is either impossible or has at least one answer"
        )
    answers = []
    for g, gold in enumerate(golds):
        gold_where = f"{where}.answers[{g}]"
        text = _field(gold, "text", str, gold_where)
        if not check_offsets:
            gold = {"answer_start": -1, **gold}
        answers.append(Answer(text, _field(gold, "answer_start", int, gold_where)))
    example = Example(id_, question, context, tuple(answers), title)
    if check_offsets:
        _check_offsets(example, where)
    return example


def _arrow_examples(path: Path, check_offsets: bool) -> Iterator[Example]:
    for example in ArrowExamples(path):
        if check_offsets:
            _check_offsets(example, str(path))
        yield example


def _hub_examples(name: str, split: str, check_offsets: bool) -> Iterator[Example]:
    from datasets import load_dataset
    from datasets.exceptions import DatasetsError

    where = f"hub data set {name}:{split}"
    try:
        rows: Any = load_dataset(name, split=split)
    except (OSError, ValueError, DatasetsError) as error:
        raise UserError(f"cannot load {where}: {error}") from error
    contexts: dict[str, str] = {}  # each row brings a copy of its context: keep one
    for r, row in enumerate(rows):
        row_where = f"{where}, row {r}"
        context = _field(row, "context", str, row_where)
        golds = _field(row, "answers", dict, row_where)
        texts, starts = (_field(golds, key, list, row_where) for key in ("text", "answer_start"))
        example = Example(
            id=_field(row, "id", str, row_where),
            question=_field(row, "question", str, row_where),
            context=contexts.setdefault(context, context),
            answers=tuple(map(Answer, texts, starts)),
            title=_field({"title": "", **row}, "title", str, row_where),
        )
        if check_offsets:
            _check_offsets(example, row_where)
        yield example


def _field(node: Any, key: str, kind: type | tuple[type, ...], where: str) -> Any:
    """Returns `node[key]`, checked to be there and of its kind; text is checked to be valid Unicode."""
    if not isinstance(node, dict):
        raise UserError(f"{where} must be an object with the key {key!r}, got {_brief(node)}")
    if key not in node:
        raise UserError(f"{where} has no {key!r}: not SQuAD's layout")
    value = node[key]
    if not isinstance(value, kind):
        kinds = kind if isinstance(kind, tuple) else (kind,)
        names = " or ".join(kind.__name__ for kind in kinds)
        raise UserError(f"{where}: {key!r} must be of type {names}, got {_brief(value)}")
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise UserError(f"{where}: {key!r} is not valid Unicode text: {error}") from error
    return value


def _check_offsets(example: Example, where: str) -> None:
    for text, start in example.answers:
        if start < 0 or not text or not example.context.startswith(text, start):
            found = example.context[max(start, 0) : max(start, 0) + max(len(text), 10)]
            raise UserError(
                f"{where}, question {example.id!r}: the answer {text!r} is not at its offset {start} of the "
                f"context, where {found!r} stands: correct 'answer_start' or drop the question"
            )


def _brief(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}…"

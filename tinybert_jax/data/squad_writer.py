"""Writes SQuAD 2.0, paragraph by paragraph: JSON, gzipped JSON or Arrow, in flat memory for any length."""

import gzip
import io
import itertools
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TextIO

from tinybert_jax.data.arrow import write_arrow
from tinybert_jax.data.example import Example
from tinybert_jax.errors import UserError
from tinybert_jax.store.files import atomic_path

_SUFFIXES = (".json", ".json.gz", ".arrow")


def check_squad_path(path: Path) -> None:
    """Checks that `write_squad` would know the format.

    Raises:
        UserError: another suffix than .json, .json.gz or .arrow.
    """
    if not path.name.endswith(_SUFFIXES):
        raise UserError(f"the output's name must end in {', '.join(_SUFFIXES)}, got {path.name!r}")


def paragraphs_of(examples: Iterable[Example]) -> Iterator[list[Example]]:
    """Groups consecutive questions about the same context."""
    for _, paragraph in itertools.groupby(examples, lambda example: (example.title, example.context)):
        yield list(paragraph)


def write_squad(path: Path, paragraphs: Iterable[Sequence[Example]]) -> None:
    """Writes paragraphs, each the questions about one context, in the format of the path's suffix.

    Consecutive paragraphs of one title become an article. The same paragraphs always give the same bytes, gzipped or
    not. The file appears under its name once it is complete.

    Raises:
        UserError: an unknown suffix.
    """
    check_squad_path(path)
    with atomic_path(path) as temporary:
        if path.suffix == ".arrow":
            write_arrow(temporary, paragraphs)
        elif path.suffix == ".gz":
            # No name and no time in the header: the same paragraphs give the same bytes.
            with (
                temporary.open("wb") as raw,
                gzip.GzipFile("", "wb", 6, raw, mtime=0) as packed,
                io.TextIOWrapper(packed, "utf-8") as file,
            ):
                _write_json(file, paragraphs)
        else:
            with temporary.open("w", encoding="utf-8") as file:
                _write_json(file, paragraphs)


def _write_json(file: TextIO, paragraphs: Iterable[Sequence[Example]]) -> None:
    file.write('{"version": "v2.0", "data": [')
    articles = itertools.groupby(paragraphs, lambda paragraph: paragraph[0].title)
    for a, (title, article) in enumerate(articles):
        file.write(f'{"," if a else ""}\n{{"title": {_json(title)}, "paragraphs": [')
        for p, paragraph in enumerate(article):
            qas = ", ".join(map(_qa, paragraph))
            file.write(f'{"," if p else ""}\n{{"context": {_json(paragraph[0].context)}, "qas": [{qas}]}}')
        file.write("]}")
    file.write("]}\n")


def _qa(example: Example) -> str:
    answers = [{"text": text, "answer_start": start} for text, start in example.answers]
    return _json(
        {
            "question": example.question,
            "id": example.id,
            "answers": answers,
            "is_impossible": example.is_impossible,
        }
    )


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)

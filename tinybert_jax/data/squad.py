"""SQuAD's JSON files, plain or gzipped."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tinybert_jax.data.example import Example
from tinybert_jax.data.validation import Row, field, hold, paragraph_rows
from tinybert_jax.errors import UserError
from tinybert_jax.store.files import parse_json, reading

_MOST_AT_ONCE = 4_000_000_000  # bytes of a gzipped file, as all of it is held; SQuAD has 42 million


def read_json_file(source: str, check_offsets: bool) -> list[Example]:
    """Reads SQuAD 1.1 or 2.0 as it is published.

    Raises:
        UserError: the file is missing, unreadable or not in SQuAD's layout, or as `to_example`.
    """
    return hold(_rows(_read_json(Path(source)), source), check_offsets)


def _rows(squad: Any, path: str) -> Iterator[Row]:
    if isinstance(squad, list):  # what most libraries write
        raise UserError(
            f'{path} is a list of rows, not SQuAD\'s layout, {{"data": [{{"paragraphs": […]}}]}}: convert it, as '
            "docs/data.md shows"
        )
    for a, article in enumerate(field(squad, "data", list, f"{path}: the top level")):
        where = f"{path}: data[{a}]"
        paragraphs = field(article, "paragraphs", list, where)
        title = field(article, "title", str, where) if "title" in article else ""
        for p, paragraph in enumerate(paragraphs):
            yield from paragraph_rows(paragraph, title, f"{where}.paragraphs[{p}]")


def _read_json(path: Path) -> Any:
    with reading(path, most=_MOST_AT_ONCE) as file:
        content = file.read()
    return parse_json(content, path)

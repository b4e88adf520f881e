"""SQuAD's JSON files, plain or gzipped."""

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tinybert_jax.data.example import Example
from tinybert_jax.data.validation import Row, field, hold, paragraph_rows
from tinybert_jax.errors import UserError
from tinybert_jax.store.files import parse_json


def read_json_file(source: str, check_offsets: bool) -> list[Example]:
    """Reads SQuAD 1.1 or 2.0 as it is published.

    Raises:
        UserError: the file is missing, unreadable or not in SQuAD's layout, or as `to_example`.
    """
    return hold(_rows(_read_json(Path(source)), source), check_offsets)


def _rows(squad: Any, path: str) -> Iterator[Row]:
    for a, article in enumerate(field(squad, "data", list, f"{path}: the top level")):
        where = f"{path}: data[{a}]"
        paragraphs = field(article, "paragraphs", list, where)
        title = field(article, "title", str, where) if "title" in article else ""
        for p, paragraph in enumerate(paragraphs):
            yield from paragraph_rows(paragraph, title, f"{where}.paragraphs[{p}]")


def _read_json(path: Path) -> Any:
    try:
        content = path.read_bytes()
        if content.startswith(b"\x1f\x8b"):  # gzip, under any name
            content = gzip.decompress(content)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UserError(f"{path} is a damaged gzip file: {error}") from error
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error
    return parse_json(content, path)

"""Plain text to train on, document by document: files, folders, and data sets of the hub. Never held as a whole."""

import io
import json
from collections.abc import Iterator, Sequence
from glob import has_magic
from pathlib import Path
from typing import Any, NamedTuple

from tinybert_jax.data.hub_rows import HUB_SOURCE, load
from tinybert_jax.errors import UserError
from tinybert_jax.hub import why
from tinybert_jax.store.digests import file_digest
from tinybert_jax.store.files import reading

SUFFIXES = (".txt", ".txt.gz", ".jsonl", ".jsonl.gz")  # what is looked for in a folder
_LONGEST = 1 << 20  # characters: a longer line is read in parts, of which a word may be cut
_HUB_ROWS = 1000  # read at once


class Piece(NamedTuple):
    """A part of a document.

    Attributes:
        text: one line, or a whole document; it begins with a space where it goes on with a document.
        ends: whether the document ends with it.
    """

    text: str
    ends: bool


class CorpusText:
    """A corpus as the user names it."""

    def __init__(self, sources: Sequence[str], column: str) -> None:
        """Finds all of it, and looks at the beginning of each file.

        Args:
            sources: files, folders, patterns such as "texts/*.txt.gz", or data sets of the hub with their split. Files
                are plain or gzipped: JSON Lines if they are called so, else text, in which blank lines separate
                documents.
            column: which field of a line of JSON, or which column of a data set, is the text.

        Raises:
            UserError: something is not there, is no text, or has no such column; or nothing of it holds text.
        """
        self._column = column
        self._files: list[Path] = []
        self._hub: dict[str, Any] = {}
        for source in sources:
            if Path(source).exists() or has_magic(source):
                self._files += _files(source)
            elif HUB_SOURCE.fullmatch(source):
                self._hub[source] = self._load(source)
            else:
                raise UserError(
                    f"{source} does not exist: a corpus is text files, folders or patterns of them, or a hub data set "
                    'and split such as "owner/name:train"'
                )
        begun = [any(piece.text for piece in self._pieces_of(path)) for path in self._files]
        if not any(begun) and not any(len(rows) for rows in self._hub.values()):
            raise UserError(f"the corpus {', '.join(sources)} holds no text: give files that do")

    def pieces(self) -> Iterator[Piece]:
        """Yields all of it in order, files before data sets.

        Raises:
            UserError: a file cannot be read, or is no text in UTF-8.
        """
        for path in self._files:
            yield from self._pieces_of(path)
        for source, rows in self._hub.items():
            for batch in rows.iter(_HUB_ROWS):
                for text in batch[self._column]:
                    if not isinstance(text, str):
                        raise UserError(f"hub data set {source}: {self._column!r} must hold texts, got {text!r:.60}")
                    yield Piece(text.strip(), True)

    def digests(self) -> list[str]:
        """What tells this corpus from others: files' SHA-256 digests, and what `datasets` has for that."""
        hub = (f"{name} {rows._fingerprint}" for name, rows in self._hub.items())
        return [self._column, *map(file_digest, self._files), *hub]

    def _pieces_of(self, path: Path) -> Iterator[Piece]:
        return _documents(path, self._column) if ".jsonl" in path.suffixes else _lines(path)

    def _load(self, source: str) -> Any:
        try:
            rows = load(source)
        except Exception as error:  # the clients' own, their HTTP library's, or a reader's of any format
            raise UserError(f"cannot load hub data set {source}: {why(error)}") from error
        if self._column not in rows.column_names:
            raise UserError(
                f"hub data set {source} has no column {self._column!r}, but {', '.join(rows.column_names)}: "
                "give --corpus-column"
            )
        return rows.select_columns(self._column)


def _files(source: str) -> list[Path]:
    path = Path(source)
    if path.is_file():
        return [path]
    candidates = path.rglob("*") if path.is_dir() else Path(path.anchor).glob(str(path.relative_to(path.anchor)))
    wanted = SUFFIXES if path.is_dir() else ("",)
    found = sorted(file for file in candidates if file.name.endswith(wanted) and file.is_file())
    if not found:
        raise UserError(f"{source} holds no text: no file's name ends in {', '.join(SUFFIXES)}, or none matches")
    return found


def _lines(path: Path) -> Iterator[Piece]:
    """A file of text, line by line; blank lines, and its end, end a document."""
    begun, whole = False, True  # a document; the line before, which else goes on
    try:
        with reading(path) as file:
            text = io.TextIOWrapper(file, "utf-8-sig")  # pyright: ignore[reportArgumentType]
            while line := text.readline(_LONGEST):
                if "\0" in line:
                    raise UserError(f"{path} must be a text in UTF-8, got a binary file")
                stripped = line.strip()
                begun &= bool(stripped) or not whole
                yield Piece(f" {stripped}" if begun and stripped else stripped, not begun and not stripped)
                begun, whole = begun or bool(stripped), line.endswith("\n")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} must be a text in UTF-8: {error}") from error
    yield Piece("", True)


def _documents(path: Path, column: str) -> Iterator[Piece]:
    """A file of JSON Lines, a document a line."""
    with reading(path) as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                fields = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise UserError(f"{path}, line {number}: not valid JSON: {error}") from error
            text = fields.get(column) if isinstance(fields, dict) else None
            if not isinstance(text, str):
                raise UserError(
                    f"{path}, line {number} must be an object with a text called {column!r}, got {fields!r:.60}: "
                    "--corpus-column names another"
                )
            yield Piece(text.strip(), True)

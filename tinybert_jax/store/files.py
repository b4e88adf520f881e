"""Outputs appear whole or not at all: written under a temporary name, then renamed. Inputs may be gzipped."""

import gzip
import io
import json
import os
import re
import shutil
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from tinybert_jax.errors import UserError

MOST_UNPACKED = 50_000_000_000  # bytes
_CHUNK = 1 << 20
_SCRATCH = re.compile(r"\..+\.\w{8}\.tmp")  # what `atomic_path` calls the folders that it writes in


@contextmanager
def naming(path: str | Path) -> Iterator[None]:
    """Gives an error of the operating system's that names no file, as that of a full disk, the one being written."""
    try:
        yield
    except OSError as error:
        if error.errno is not None and error.filename is None:
            error.filename = str(path)
        raise


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yields a temporary sibling of `path` to write a file or a folder to; renames it to `path` on success.

    On an exception the temporary is removed and what was at `path` stays as it was.
    """
    path = Path(path).absolute()
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent))
    temporary, replaced = scratch / path.name, scratch / "replaced"
    try:
        with naming(path):
            yield temporary
        if path.is_dir() and temporary.is_dir():  # not replaced in one call: the old one steps aside first
            path.replace(replaced)
        temporary.replace(path)
    except BaseException:
        if replaced.exists() and not path.exists():  # interrupted between the two
            replaced.replace(path)
        raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def check_folder_for(path: Path) -> None:
    """Checks, before there is anything to write to `path`, that its folder is one to write to, or could be made.

    Raises:
        UserError: it could not.
    """
    nearest = next(folder for folder in path.absolute().parents if folder.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
        raise UserError(f"cannot write {path}: {nearest} is no folder, or may not be written to; name another")


def is_scratch(name: str) -> bool:
    """Whether a folder of that name is one that `atomic_path` writes in."""
    return _SCRATCH.fullmatch(name) is not None


def sweep(folder: Path) -> None:
    """Removes what killed processes left of `atomic_path` anywhere in `folder`, in which no other may be writing."""
    for parent, names, _ in os.walk(folder):
        for name in filter(is_scratch, names):
            shutil.rmtree(Path(parent) / name, ignore_errors=True)


def write_json(path: str | Path, value: Any) -> None:
    """Writes `value` as indented JSON, atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def read_json(path: str | Path) -> Any:
    """Reads a JSON file, as `parse_json` does.

    Raises:
        UserError: the file is missing, unreadable or not JSON.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error
    return parse_json(content, path)


def parse_json(content: bytes, path: str | Path) -> Any:
    """Reads the content of the JSON file `path`: UTF-8, UTF-16 or UTF-32, with or without a byte order mark.

    Raises:
        UserError: it is not JSON, or nested too deeply.
    """
    try:
        return json.loads(content)
    except ValueError as error:
        raise UserError(f"{path} is not valid JSON: {error}") from error
    except RecursionError as error:
        raise UserError(f"{path} is not valid JSON: it is nested too deeply") from error


class _Bounded(io.RawIOBase):
    """A stream that is unpacked while it is read, up to a limit: a small file may hold more than any disk."""

    def __init__(self, unpacked: io.BufferedIOBase | IO[bytes], path: Path, most: int) -> None:
        self._unpacked, self._path, self._left, self._most = unpacked, path, most, most

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        chunk = self._unpacked.read(len(buffer))
        self._left -= len(chunk)
        if self._left < 0:
            raise UserError(
                f"{self._path} must unpack to {self._most / 1e9:g} GB at most, got more: is it what you took it for? "
                "Unpack it, and split what is in it"
            )
        buffer[: len(chunk)] = chunk
        return len(chunk)


def bounded(unpacked: io.BufferedIOBase | IO[bytes], path: Path, most: int = MOST_UNPACKED) -> io.BufferedIOBase:
    """The stream, buffered; reading more of it than so many bytes raises a UserError that names the file."""
    return io.BufferedReader(_Bounded(unpacked, path, most), _CHUNK)


@contextmanager
def reading(path: Path, most: int = MOST_UNPACKED) -> Iterator[io.BufferedIOBase]:
    """Opens a file for reading, unpacked where it is gzipped, under whatever name.

    Args:
        path: the file.
        most: bytes that a gzipped one may unpack to.

    Raises:
        UserError: it cannot be read, is damaged, or unpacks to more; raised while it is read, too.
    """
    try:
        with path.open("rb") as raw:
            if raw.peek(2).startswith(b"\x1f\x8b"):
                with gzip.open(raw) as unpacked:
                    yield bounded(unpacked, path, most)
            else:
                yield raw
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UserError(f"{path} is a damaged gzip file: {error}") from error
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error

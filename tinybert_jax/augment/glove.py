"""GloVe vectors, read from text of any size into a memory-mapped matrix, and the words nearest to a word."""

import gzip
import io
import itertools
import re
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from tinybert_jax.errors import UserError, check
from tinybert_jax.store.cache import Entry
from tinybert_jax.store.digests import new_key
from tinybert_jax.store.files import bounded
from tinybert_jax.store.npy import NpyWriter

_LINES = 4096  # parsed at a time
_LONGEST = 1 << 16  # bytes of a line, so that what is parsed at a time can be held
_QUERIES, _ROWS = 1024, 16_384  # words, and rows of the matrix, compared at a time: the matrix is never held
_ENDS_IN_NUMBER = re.compile(rb".* [-+]?\d*\.?\d+(e[-+]?\d+)?", re.DOTALL)
_Best = tuple[jax.Array, jax.Array]  # the best cosines so far and their rows, (Q, count) each


class Glove(NamedTuple):
    """V words and their vectors, of length 1 but for those that are zero."""

    words: list[str]  # row -> word
    vectors: np.ndarray  # (V, d) float32, memory-mapped


def load_glove(path: str | Path, cache_dir: Path, limit: int | None = None) -> Glove:
    """Reads GloVe's text, or what the cache holds of it.

    The cache knows a file by its path, size and time of change. Hashing its content would take as long as unpacking
    it, at each start of a run, and would only save reading a copy of the same file once more.

    Args:
        path: a word, spaces allowed, and its values a line; plain, .gz, or .zip, whose largest .txt is read.
        cache_dir: the cache's folder.
        limit: how many words are read, from the first; None for all.

    Raises:
        UserError: the file is missing or damaged, holds no vectors, or a line is not a word and its values.
    """
    path = Path(path)
    check("limit", limit, limit is None or limit >= 1, "at least 1 word")
    try:
        status = path.stat()
    except OSError as error:
        raise _unreadable(path, error) from error
    key = new_key(str(path.resolve()), status.st_size, status.st_mtime_ns, limit).hexdigest()

    def make(entry: Entry) -> None:
        with entry.adding() as folder:
            _write(folder, path, limit)

    folder = Entry(Path(cache_dir), "glove", key).fill(make)
    *words, _ = (folder / "words.txt").read_bytes().decode().split("\n")
    return Glove(words, np.load(folder / "vectors.npy", mmap_mode="r"))


def nearest_words(
    glove: Glove, words: Sequence[str], count: int, allowed: Callable[[str], bool]
) -> dict[str, list[str]]:
    """Finds the `count` words (or as many as there are) of the largest cosine with each word, best first.

    Of equal cosines the lower row's is better. A word's neighbours do not depend on what else is asked.

    Args:
        glove: the vectors; of a word's rows the first counts.
        words: any words; those without a vector, or with one that is zero, are left out.
        count: how many neighbours a word gets.
        allowed: says which words may be neighbours; a word never is its own.
    """
    first_row = dict(zip(reversed(glove.words), reversed(range(len(glove.words))), strict=True))
    known = [word for word in dict.fromkeys(words) if word in first_row and glove.vectors[first_row[word]].any()]
    if not known:
        return {}
    usable = np.array([first_row[word] == row and allowed(word) for row, word in enumerate(glove.words)], bool)
    nearest = _nearest_rows(glove.vectors, np.array([first_row[word] for word in known], np.int32), usable, count)
    return {word: [glove.words[row] for row in rows if row >= 0] for word, rows in zip(known, nearest, strict=True)}


def _unreadable(path: Path, error: Exception) -> UserError:
    reason = getattr(error, "strerror", None) or error
    return UserError(f"cannot read the GloVe vectors {path}: {reason}: give their whole text, plain, .gz or .zip")


def _write(folder: Path, path: Path, limit: int | None) -> None:
    chunks = _chunks(path)
    first = next(chunks, [])
    # What most lines have: words may contain spaces, and the very first line may be word2vec's, "COUNT DIMENSION".
    votes = Counter(line.count(b" ") for line in first if not re.fullmatch(rb"\d+ \d+", line))
    dimension = max(1, min(votes, key=lambda spaces: (-votes[spaces], spaces), default=1))
    header = any(re.fullmatch(rb"\d+ %d" % dimension, line) for line in first[:1])
    with (folder / "words.txt").open("wb") as file, NpyWriter(folder / "vectors.npy", "f4", (dimension,)) as writer:
        for lines in itertools.chain([first[header:]], chunks):
            words, vectors = _parse(lines[: limit and limit - writer.rows], dimension, path, writer.rows + 1 + header)
            file.write("".join(f"{word}\n" for word in words).encode())
            length = np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)  # squares overflow float32
            writer.append(vectors / np.where(length > 0, length, 1))
            if writer.rows == limit:
                break
    if not writer.rows:
        raise UserError(f"{path} must hold a word and its vector a line, got an empty file: download it again")


def _chunks(path: Path) -> Iterator[list[bytes]]:
    """Yields some lines after the other, split only at line feeds: words contain other line separators."""
    from tqdm import tqdm

    bar = tqdm(desc=path.name, total=path.stat().st_size, unit="B", unit_scale=True, disable=None, leave=False)
    try:
        with bar, path.open("rb") as file, _unpacked(file, path) as text:
            longest = iter(lambda: text.readline(_LONGEST), b"")  # of a longer line, parts: they are no vectors
            while lines := [line.rstrip(b" \r\n") for line in itertools.islice(longest, _LINES)]:
                bar.update(file.tell() - bar.n)
                yield lines
    except (OSError, EOFError, RuntimeError, zlib.error, zipfile.BadZipFile) as error:  # RuntimeError: encrypted
        raise _unreadable(path, error) from error


@contextmanager
def _unpacked(file: io.BufferedReader, path: Path) -> Iterator[io.BufferedIOBase]:
    magic = file.read(4)
    file.seek(0)
    if magic.startswith(b"\x1f\x8b"):  # gzip, under any name
        with gzip.GzipFile(fileobj=file) as text:
            yield bounded(text, path)
    elif magic in {b"PK\x03\x04", b"PK\x05\x06"}:  # zip, with members and without
        with zipfile.ZipFile(file) as archive:
            texts = [member for member in archive.infolist() if member.filename.endswith(".txt")]
            if not texts:
                raise UserError(f"{path} must hold vectors as a .txt file, got {archive.namelist()[:5]}: give another")
            with archive.open(max(texts, key=lambda member: member.file_size)) as text:
                yield bounded(text, path)
    elif path.suffix == ".zip":
        raise UserError(f"{path} is named .zip but is not a zip file: download it again, or rename it")
    else:
        yield file


@np.errstate(over="ignore")  # an overflow is an inf, and refused
def _parse(lines: Sequence[bytes], dimension: int, path: Path, first: int) -> tuple[list[str], np.ndarray]:
    """Returns the words of n lines, and their vectors, (n, dimension) float32; `first` is the first line's number."""
    words, vectors = [], np.empty((len(lines), dimension), np.float32)
    for row, line in enumerate(lines):
        word, *values = line.rsplit(b" ", dimension)
        try:
            if len(values) < dimension or _ENDS_IN_NUMBER.fullmatch(word):
                raise ValueError(f"{line.count(b' ')} numbers")
            words.append(word.decode())
            vectors[row] = values
            if not np.isfinite(vectors[row]).all():
                raise ValueError("not all are finite")
        except ValueError as error:
            rule = f"must hold a word in UTF-8 and, like most lines, {dimension} finite numbers"
            got = f"{line[:50]!r} ({str(error)[:80]})"
            raise UserError(f"{path}, line {first + row} {rule}, got {got}: correct or remove it") from error
    return words, vectors


def _nearest_rows(vectors: np.ndarray, own: np.ndarray, usable: np.ndarray, count: int) -> list[list[int]]:
    """The rows nearest to each of the rows `own`, (Q,), among those `usable`, (V,); -1 where there are no more."""
    from tqdm import tqdm

    size = min(_ROWS, len(vectors))
    blocks = np.pad(own, (0, -len(own) % _QUERIES)).reshape(-1, _QUERIES)
    queries = [jnp.asarray(vectors[rows]) for rows in blocks]
    best = [(jnp.full((_QUERIES, count), -jnp.inf), jnp.full((_QUERIES, count), -1)) for _ in blocks]
    for begin in tqdm(range(0, len(vectors), size), "neighbours", disable=None, unit="block", leave=False):
        start = min(begin, len(vectors) - size)  # the last block reaches back into the one before: one shape for all
        block = jnp.asarray(vectors[start : start + size])
        may = usable[start : start + size] & (np.arange(start, start + size) >= begin)
        for i, rows in enumerate(blocks):  # one at a time: each that is under way takes memory
            best[i] = jax.block_until_ready(_better(best[i], queries[i], rows, block, may, start))
    return np.concatenate([rows for _, rows in best])[: len(own)].tolist()


@jax.jit
def _better(best: _Best, queries: jax.Array, own: jax.Array, block: jax.Array, may: jax.Array, start: int) -> _Best:
    """Merges a block's rows, (R, d), `start` and on, into the best so far."""
    cosines = jnp.einsum("qd,rd->qr", queries, block, precision=jax.lax.Precision.HIGHEST)
    other = start + jnp.arange(len(block)) != own[:, None]
    cosines = jnp.where(may & block.any(axis=1) & other, cosines, -jnp.inf)
    count = best[0].shape[1]
    top, at = jax.lax.top_k(jnp.concatenate([best[0], cosines], axis=1), count)  # of equals the first: the lower row
    rows = jnp.where(at < count, jnp.take_along_axis(best[1], at % count, axis=1), start + at - count)
    return top, jnp.where(jnp.isfinite(top), rows, -1)

"""What is worth keeping between runs: one folder of entries, each named by a hash of all that decides its content.

    CACHE/KIND/KEY/manifest.json    which parts are there, each one's size and CRC-32, and whether these are all
    CACHE/KIND/KEY/PART …
    CACHE/locks/KIND-KEY.lock       held by the process that fills the entry

Only what the manifest names counts. So an entry is there whole, or as the parts that a killed run had finished, and
the next run makes the others. What is on the disk is compared with the manifest before it is used: a part that does
not agree is made again, with a warning.

CRC-32 finds damage, not malice. It takes 0.9 to 1.2 s a GiB (AMD EPYC, one core; SHA-256 1.4 to 1.9, BLAKE2b 2.5 to
3.1), and goes on over a part that grows.

Left out: locks for readers, as what a process has mapped stays readable to it when it is removed; and removal of what
is old, other than by `tinybert cache --prune`.
"""

import os
import re
import shutil
import sys
import tempfile
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from filelock import FileLock, Timeout

from tinybert_jax.errors import UserError
from tinybert_jax.store.files import naming, read_json, write_json

# Kind -> what a process that waits for another one says that one computes.
KINDS = {
    "windows": "the same windows",
    "logits": "the same teacher's logits",
    "candidates": "the same candidates",
    "glove": "the same GloVe vectors",
    "augmented": "the same augmented data",
    "corpus": "the same corpus",
}
MANIFEST = "manifest.json"
REMOVED = ".removed."  # begins the names of folders whose content is being removed
_NAME = re.compile(r"[0-9a-f]{64}(\.arrow)?")  # the suffix: of earlier layouts, so that these are pruned too
_CHUNK = 1 << 20


def default_cache() -> Path:
    """Where the cache is unless told otherwise: below $XDG_CACHE_HOME, or ~/.cache."""
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (base if base.is_absolute() else Path.home() / ".cache") / "tinybert_jax"


class Part(NamedTuple):
    """What a manifest records of a file."""

    size: int
    crc32: int

    @classmethod
    def of(cls, path: Path, size: int | None = None) -> "Part":
        """Reads a file, or its first `size` bytes."""
        crc32, read, most = 0, 0, sys.maxsize if size is None else size
        with path.open("rb", buffering=0) as file:
            while chunk := file.read(min(_CHUNK, most - read)):
                crc32, read = zlib.crc32(chunk, crc32), read + len(chunk)
        return cls(read, crc32)


class Manifest(NamedTuple):
    """What is recorded of an entry: its parts by file name, in order, and whether they are all."""

    parts: dict[str, Part]
    complete: bool


@dataclass
class Entry:
    """One thing in a cache; `fill` makes it, or what is missing of it.

    Attributes:
        root: the cache's folder.
        kind: one of `KINDS`.
        key: the hash that names it.
        parts: the sound parts, known once `fill` has begun.
    """

    root: Path
    kind: str
    key: str
    parts: dict[str, Part] = field(default_factory=dict)

    @property
    def path(self) -> Path:
        """The folder of its parts."""
        return self.root / self.kind / self.key

    @property
    def is_begun(self) -> bool:
        """Whether a part of it is recorded."""
        recorded = read_manifest(self.path)
        return recorded is not None and len(recorded.parts) > 0

    def fill(self, make: Callable[["Entry"], None]) -> Path:
        """Has `make` add the parts that are missing, unless none is; returns the folder.

        Of two processes that want the same entry, one makes it and the other waits. If the first one ends early, even
        killed, the other takes over.

        Args:
            make: adds the parts that `parts` lacks, by `adding` or `append`.

        Raises:
            UserError: the cache cannot be written to.
        """
        recorded = read_manifest(self.path)
        if not (recorded and recorded.complete and not self._verify(recorded)):
            with self._locked():
                self._make(make)
        with suppress(OSError):  # a cache of somebody else's, which may be read-only
            os.utime(self.path / MANIFEST)
        return self.path

    @contextmanager
    def adding(self) -> Iterator[Path]:
        """Yields an empty folder to write files to; on success each becomes a part under its name."""
        with naming(self.path), tempfile.TemporaryDirectory(prefix=".", dir=self.path) as scratch:
            yield Path(scratch)
            for file in sorted(Path(scratch).iterdir()):
                part = Part.of(file)
                file.replace(self.path / file.name)  # a process that has the old one mapped keeps it
                self.parts[file.name] = part
        self._record(complete=False)

    def append(self, name: str, content: bytes) -> None:
        """Adds bytes to the end of a part, which begins with the first call; recorded once they are on the disk."""
        size, crc32 = self.parts.get(name, Part(0, 0))
        path = self.path / name
        if not size:
            path.unlink(missing_ok=True)  # a process that has the damaged file mapped keeps it
            path.touch()
        with naming(path), path.open("r+b") as file:
            file.truncate(size)  # what was written and not recorded does not count
            file.seek(size)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        self.parts[name] = Part(size + len(content), zlib.crc32(content, crc32))
        self._record(complete=False)

    def size(self) -> int:
        """Bytes on the disk."""
        return size_of(self.path)

    def used(self) -> float:
        """When it was last made or read, in seconds since 1970."""
        manifest = self.path / MANIFEST
        return (manifest if manifest.exists() else self.path).stat().st_mtime

    def remove(self) -> bool:
        """Removes the entry, unless a process is using it: then it stays, and False is returned."""
        try:
            with (
                self._lock().acquire(blocking=False),
                tempfile.TemporaryDirectory(prefix=REMOVED, dir=self.root) as trash,
            ):
                self.path.replace(Path(trash) / self.key)  # first, so that no other process ever finds half an entry
        except (Timeout, PermissionError):  # the second: Windows, where an open file cannot be removed
            return False
        except FileNotFoundError:  # another process was quicker
            pass
        return True

    def _make(self, make: Callable[["Entry"], None]) -> None:
        recorded = read_manifest(self.path)
        damaged = self._verify(recorded)
        if damaged:
            names = ", ".join(damaged)
            warnings.warn(f"{self.path} in the cache is damaged ({names}): it is made again", stacklevel=4)
        if recorded and recorded.complete and not damaged:  # made by another process, just now
            return
        self.path.mkdir(parents=True, exist_ok=True)
        for scratch in self.path.glob(".*"):  # of a process that was killed
            shutil.rmtree(scratch, ignore_errors=True)
        try:
            self._record(complete=False)  # from here on, a manifest that is missing is damage
            make(self)
            self._record(complete=True)
        finally:
            if not self.parts:
                shutil.rmtree(self.path)

    def _verify(self, recorded: Manifest | None) -> list[str]:
        """Takes over the recorded parts that are sound; returns the names of what is damaged.

        Args:
            recorded: what was read of the manifest, once: another process may be making the entry again by now, and its
                manifest names fewer parts.
        """
        self.parts = {}
        if recorded is None:
            return [MANIFEST] if self.path.exists() and any(self.path.iterdir()) else []
        for name, part in recorded.parts.items():
            with suppress(OSError):
                # of a part that grows, more may have been written than was recorded
                if Part.of(self.path / name, None if recorded.complete else part.size) == part:
                    self.parts[name] = part
        return [name for name in recorded.parts if name not in self.parts]

    def _record(self, complete: bool) -> None:
        parts = {name: part._asdict() for name, part in self.parts.items()}
        write_json(self.path / MANIFEST, {"complete": complete, "parts": parts})

    def _lock(self) -> FileLock:
        """Its lock: never removed, as a process may be waiting for the very file."""
        path = self.root / "locks" / f"{self.kind}-{self.key}.lock"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            reason = error.strerror or error
            raise UserError(f"cannot write to the cache {self.root}: {reason}: name another folder") from error
        return FileLock(path)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        lock = self._lock()
        try:
            lock.acquire(blocking=False)
        except Timeout:
            print(f"waiting: another process computes {KINDS[self.kind]}", file=sys.stderr)
            lock.acquire()
        try:
            yield
        finally:
            lock.release()


def read_manifest(folder: Path) -> Manifest | None:
    """What an entry's manifest says; None where there is none, or it is damaged."""
    try:
        match read_json(folder / MANIFEST):
            case {"complete": bool(complete), "parts": dict(parts)}:
                return Manifest({name: Part(int(p["size"]), int(p["crc32"])) for name, p in parts.items()}, complete)
    except (ValueError, TypeError, KeyError):
        pass
    return None


def entries(root: Path) -> Iterator[Entry]:
    """Everything that a cache holds, kind by kind; nothing else that may lie in its folder."""
    for kind in KINDS:
        folder = root / kind
        for path in sorted(folder.iterdir()) if folder.is_dir() else ():
            if _NAME.fullmatch(path.name):
                yield Entry(root, kind, path.name)


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    total = 0
    for file in path.rglob("*") if path.is_dir() else (path,):
        with suppress(OSError):  # another process may have removed it
            total += file.stat().st_size if file.is_file() else 0
    return total

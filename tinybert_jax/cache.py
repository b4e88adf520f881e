"""What is kept between runs: `tinybert cache [--kind KIND] [--older-than DAYS] [--prune]`.

Windows of tokenised data, teachers' logits, words' candidates, GloVe's matrix, augmented data, and compiled programs.
All of it can be made again, which is what happens to what is missing.
"""

import re
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Literal, NamedTuple

from tinybert_jax.errors import check, run_script
from tinybert_jax.store.cache import REMOVED, default_cache, entries, read_manifest, size_of

PROGRAMS = "xla"  # the folder of compiled programs, which is JAX's own
_PROGRAM = re.compile(r".*-(cache|atime)|xla_gpu_.*")  # what JAX writes there
_DAY = 24 * 60 * 60


class Kept(NamedTuple):
    """One thing that is kept."""

    kind: str
    key: str
    size: int
    used: float  # seconds since 1970
    complete: bool
    remove: Callable[[], bool]


def manage(
    *,
    prune: bool = False,
    kind: Literal["windows", "logits", "candidates", "glove", "augmented", "xla"] | None = None,
    older_than: float | None = None,
    cache: Path | None = None,
) -> None:
    """Lists what is kept between runs, or removes it.

    Args:
        prune: remove what would be listed, but for what another process is computing right now.
        kind: only of this kind; xla is all compiled programs together.
        older_than: only what no run has made or read in this many days.
        cache: the folder; $XDG_CACHE_HOME/tinybert_jax or ~/.cache/tinybert_jax if not given.

    Raises:
        UserError: a negative number of days.
    """
    check("older_than", older_than, older_than is None or older_than >= 0, "at least 0 days")
    root, now = cache or default_cache(), time.time()
    chosen = [
        kept
        for kept in (*_entries(root), *_programs(root))
        if kind in (None, kept.kind) and (older_than is None or now - kept.used > older_than * _DAY)
    ]
    if prune:
        removed = [kept.remove() for kept in chosen]
        for trash in root.glob(f"{REMOVED}*"):  # of a process that was killed while it removed
            shutil.rmtree(trash, ignore_errors=True)
        _print("removed", chosen, ["yes" if gone else "no: in use" for gone in removed], now)
        print(f"removed: {_size(sum(kept.size for kept, gone in zip(chosen, removed, strict=True) if gone))} in {root}")
    else:
        _print("complete", chosen, ["yes" if kept.complete else "no" for kept in chosen], now)
        print(f"total: {_size(sum(kept.size for kept in chosen))} in {root}")


def _entries(root: Path) -> Iterator[Kept]:
    for entry in entries(root):
        with suppress(FileNotFoundError):  # another process may have removed it
            recorded = read_manifest(entry.path)
            complete = recorded is not None and recorded.complete
            yield Kept(entry.kind, entry.key, entry.size(), entry.used(), complete, entry.remove)


def _programs(root: Path) -> Iterator[Kept]:
    folder = root / PROGRAMS
    files = [path for path in folder.glob("*") if _PROGRAM.fullmatch(path.name)]

    def remove() -> bool:
        for path in files:
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        return True

    if files:
        used = max(path.stat().st_mtime for path in files)
        yield Kept(PROGRAMS, "all", sum(map(size_of, files)), used, True, remove)


def _size(count: float) -> str:
    units = ["B", "kB", "MB", "GB", "TB"]
    while count >= 999.5 and len(units) > 1:
        count /= 1000
        del units[0]
    return f"{count:.3g} {units[0]}"


def _age(seconds: float) -> str:
    for unit, length in (("day", _DAY), ("hour", 3600), ("minute", 60)):
        if seconds >= length:
            count = int(seconds / length)
            return f"{count} {unit}{'s' * (count > 1)} ago"
    return "now"


def _print(last: str, rows: Sequence[Kept], states: Sequence[str], now: float) -> None:
    """Prints a table whose last column's name is `last`."""
    table = [("kind", "key", "size", "last used", last)]
    for kept, state in zip(rows, states, strict=True):
        table.append((kept.kind, kept.key[:12], _size(kept.size), _age(now - kept.used), state))
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for row in table:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def main() -> None:
    """The command line."""
    import tyro

    tyro.cli(manage, prog="tinybert cache")


if __name__ == "__main__":
    run_script(main)

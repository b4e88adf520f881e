"""What a cache lacks, made by several processes that see it: each a share of the blocks, which the first one joins.

A share is an entry of its own until then, so that it is made, continued after a kill, and found damaged as any entry.
Joined, they are the entry that an only process makes, to the byte.

Left out: to continue with one number of processes what was begun with another. The first process goes on by itself
with an entry that an only one has begun, and shares of other sizes are made from their beginning.
"""

import hashlib
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from tinybert_jax.processes import Sharing, all_say, alone, from_first, in_turn, index, is_first, say
from tinybert_jax.store.cache import Entry, read_manifest

Make = Callable[[Entry, range], None]
Join = Callable[[Entry, Sequence[Path]], None]


def concatenate(entry: Entry, shares: Sequence[Path]) -> None:
    """Adds the files of all shares; those of one name become one file."""
    with entry.adding() as folder:
        for share in shares:
            recorded = read_manifest(share)
            for name in recorded.parts if recorded else ():
                with (folder / name).open("ab") as whole, (share / name).open("rb") as part:
                    shutil.copyfileobj(part, whole)


def fill_together(entry: Entry, blocks: int, make: Make, join: Join = concatenate) -> Path:
    """Makes what an entry lacks, with the other processes while `processes.sharing` lasts; returns its folder.

    All of them call it, with the same arguments but for the cache's folder.

    Args:
        entry: what to fill.
        blocks: how many blocks it has; of one block, or none, the first process makes all.
        make: adds some blocks to an entry, those that it lacks; it may fill other entries, which are not shared.
        join: adds the parts of shares, which are in order, to the entry.

    Raises:
        UserError: as `Entry.fill`.
    """
    sharers, whole = Sharing.by, _making(make, range(blocks))
    if sharers is None:
        return entry.fill(whole)
    with alone():
        if index() not in sharers:
            entry.fill(whole)
        parts = split(entry, blocks, len(sharers))
        if len(parts) == 1 or from_first(lambda: entry.is_begun):
            return in_turn(lambda: entry.fill(whole))
        for process, (part, share) in zip(sharers, parts, strict=False):
            if process == index():
                say(f"makes blocks {share.start + 1} to {share.stop} of {blocks}: {entry.kind}")
                part.fill(_making(make, share))
        all_say(None)
        path = in_turn(lambda: entry.fill(lambda one: _join(one, parts, make, join)))
        if is_first():
            for part, _ in parts:
                part.remove()
        return path


def split(entry: Entry, blocks: int, processes: int) -> list[tuple[Entry, range]]:
    """The shares of an entry's blocks, of at least one block each, and the entries that they are until they are joined.

    Where there is but one, it is not for an entry of its own.
    """
    count = max(1, min(blocks, processes))
    bounds = [blocks * i // count for i in range(count + 1)]
    shares = [range(*bounds[i : i + 2]) for i in range(count)]
    return [(Entry(entry.root, entry.kind, _key(entry.key, share)), share) for share in shares]


def _key(key: str, share: range) -> str:
    return hashlib.sha256(f"{key} {share}".encode()).hexdigest()


def _making(make: Make, blocks: range) -> Callable[[Entry], None]:
    return lambda entry: make(entry, blocks)


def _join(entry: Entry, parts: Sequence[tuple[Entry, range]], make: Make, join: Join) -> None:
    """Joins the shares, each made again here where it is damaged or missing."""
    join(entry, [part.fill(_making(make, share)) for part, share in parts])

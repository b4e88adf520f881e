"""The next items, made in a background thread while the current one is used."""

from collections import deque
from collections.abc import Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")

_END = object()


def prefetch(items: Iterable[Item], depth: int = 2) -> Generator[Item]:
    """Iterates `items` in a thread of its own, up to `depth` items ahead, and yields them in order.

    What `items` raises is raised here, after the items before it. The thread ends with the iteration; or, when
    the generator is closed before, once the item that it is making is done.

    Args:
        items: a generator expression, say, whose work releases the interpreter's lock.
        depth: how many items are made before they are asked for.
    """
    if depth < 1:
        raise ValueError(f"depth must be at least 1, got {depth}")
    iterator = iter(items)
    with ThreadPoolExecutor(1, "prefetch") as thread:
        pending = deque(thread.submit(next, iterator, _END) for _ in range(depth))
        try:
            while (item := pending.popleft().result()) is not _END:
                pending.append(thread.submit(next, iterator, _END))
                yield item  # pyright: ignore[reportReturnType]
        finally:
            for future in pending:
                future.cancel()

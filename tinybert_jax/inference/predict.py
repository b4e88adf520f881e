"""Logits of every token of every window, batch by batch."""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from typing import TypeVar

import numpy as np
from jaxtyping import Float, Int

from tinybert_jax.data import Windows, eval_batches
from tinybert_jax.data.prefetch import prefetch
from tinybert_jax.inference.memory import check_scored_batch
from tinybert_jax.inference.network import Network

Item = TypeVar("Item")


def predict_logits(
    network: Network,
    windows: Windows,
    *,
    batch_size: int = 32,
    buckets: Sequence[int] = (),
    label: str | None = "scoring",
) -> Float[np.ndarray, "tokens 2"]:
    """Start and end logits of every token of every window, float32.

    Args:
        network: what computes them.
        windows: W windows.
        batch_size: windows in a forward pass.
        buckets: batch lengths; the network's own up to the longest window when empty.
        label: what the progress bar calls this; None for no bar.

    Returns:
        Logits aligned with `windows.tokens`.
    """
    blocks = predict_blocks(network, windows, block=len(windows), batch_size=batch_size, buckets=buckets, label=label)
    (logits,) = blocks
    return logits


def predict_blocks(
    network: Network,
    windows: Windows,
    *,
    block: int,
    first: int = 0,
    last: int | None = None,
    batch_size: int = 32,
    buckets: Sequence[int] = (),
    label: str | None = "scoring",
) -> Iterator[Float[np.ndarray, "tokens 2"]]:
    """Yields the logits block after block, so that they need not all be held; float32.

    Args:
        network: what computes them.
        windows: W windows.
        block: windows in a block; the last one may have fewer.
        first: the window the first block begins with.
        last: the window before which the last block ends; None, or one that there is not, for the end of all.
        batch_size: as in `predict_logits`.
        buckets: likewise.
        label: likewise.
    """
    from tqdm import tqdm

    last = len(windows) if last is None else min(last, len(windows))
    longest = min(-(-int(windows.lengths.max()) // 64) * 64, network.config.max_positions)
    buckets = buckets or network.lengths(longest)
    check_scored_batch("batch_size", batch_size, buckets[0])
    hidden = None if label else True  # None: where the output is no terminal
    progress = {"total": last, "initial": first, "unit": "window", "disable": hidden, "leave": False}
    with tqdm(desc=label, **progress) as bar:
        for begin in range(first, last, block):
            part = windows.slice(begin, min(begin + block, last))
            logits = np.empty((len(part.tokens), 2), np.float32)
            with closing(prefetch(eval_batches(part, batch_size, buckets))) as batches:
                for indices, rows in _read_later((i, network(batch)) for i, batch in batches):
                    _place(np.asarray(rows), indices, part, logits)
                    bar.update(len(indices))
            yield logits


def _place(
    rows: Float[np.ndarray, "B T 2"],
    indices: Int[np.ndarray, " W"],
    windows: Windows,
    logits: Float[np.ndarray, "tokens 2"],
) -> None:
    """Copies a batch's rows, less padding, to where its windows' tokens are in `logits`."""
    for window, row in zip(indices, rows, strict=False):  # filler rows come last
        splits = slice(windows.row_splits[window], windows.row_splits[window + 1])
        logits[splits] = row[: splits.stop - splits.start]


def _read_later(items: Iterable[Item], count: int = 2) -> Iterator[Item]:
    """Yields the items, each once the `count` items after it have been drawn: dispatched, here, to the device."""
    pending = deque()
    for item in items:
        pending.append(item)
        if len(pending) > count:
            yield pending.popleft()
    yield from pending

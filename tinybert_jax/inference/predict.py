"""Logits of every token of every window, batch by batch on all devices."""

import functools
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from typing import TypeVar

import jax
import numpy as np
from jaxtyping import Float, Int

from tinybert_jax.data import Batch, Windows, default_buckets, eval_batches
from tinybert_jax.data.prefetch import prefetch
from tinybert_jax.model import BertForQuestionAnswering, forward, freeze
from tinybert_jax.model.bert import Params
from tinybert_jax.model.ops.platform import Platform
from tinybert_jax.sharding import data_mesh, replicate, shard_batch

Item = TypeVar("Item")


@functools.partial(jax.jit, static_argnums=0)
def _logits(model: BertForQuestionAnswering, params: Params, batch: Batch) -> Float[jax.Array, "B T 2"]:
    return forward(model, params, batch).logits


def predict_logits(
    model: BertForQuestionAnswering,
    params: Params,
    windows: Windows,
    *,
    batch_size: int = 32,
    buckets: Sequence[int] = (),
) -> Float[np.ndarray, "tokens 2"]:
    """Start and end logits of every token of every window, float32.

    Args:
        model: the network.
        params: its parameters.
        windows: W windows.
        batch_size: windows a forward; rounded up to a multiple of the devices.
        buckets: batch lengths; the default ones up to the longest window when empty.

    Returns:
        Logits aligned with `windows.tokens`.
    """
    blocks = predict_blocks(model, params, windows, block=len(windows), batch_size=batch_size, buckets=buckets)
    (logits,) = blocks
    return logits


def predict_blocks(
    model: BertForQuestionAnswering,
    params: Params,
    windows: Windows,
    *,
    block: int,
    first: int = 0,
    batch_size: int = 32,
    buckets: Sequence[int] = (),
    label: str = "scoring",
) -> Iterator[Float[np.ndarray, "tokens 2"]]:
    """Yields the logits block after block, so that they need not all be held; float32.

    Args:
        model: the network.
        params: its parameters.
        windows: W windows.
        block: windows in a block; the last one may have fewer.
        first: the window the first block begins with.
        batch_size: as `predict_logits` has it.
        buckets: likewise.
        label: what the progress bar calls this.
    """
    from tqdm import tqdm

    mesh = data_mesh()
    model = model.clone(platform=Platform.of(mesh))
    batch_size = -(-batch_size // mesh.size) * mesh.size
    longest = min(-(-int(windows.lengths.max()) // 64) * 64, model.config.max_positions)
    buckets = buckets or default_buckets(longest)
    params = replicate(freeze(params, model.config.dtype), mesh)
    progress = {"total": len(windows), "initial": first, "unit": "window", "disable": None, "leave": False}
    with tqdm(desc=label, **progress) as bar:
        for begin in range(first, len(windows), block):
            part = windows.slice(begin, min(begin + block, len(windows)))
            logits = np.empty((len(part.tokens), 2), np.float32)
            batches = prefetch((i, shard_batch(batch, mesh)) for i, batch in eval_batches(part, batch_size, buckets))
            with closing(batches):
                for indices, rows in _read_later((i, _logits(model, params, batch)) for i, batch in batches):
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

"""Time of a forward: ours in JAX and as ONNX, in float32 and in eight bits, beside transformers' on PyTorch.

    python -m benchmarks.inference [--models MiniLM-L3 …] [--batches 1 32] [--lengths 128 384]
    python -m benchmarks.inference --real-lengths 256

All have the same random weights, through one folder, and the same full windows: the first command's table holds medians
over rounds, in milliseconds, and PyTorch's median over each. With --real-lengths, so many windows as long as SQuAD's
instead: ours through `predict_logits`, in length buckets; transformers' in the order of the file, in batches padded to
their longest window. Systems take turns; each is called once, uncounted, before its turn is timed, since the threads of
the one before may still be spinning. PyTorch runs eagerly, with the attention that transformers chooses (SDPA).
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any, Literal

import jax
import numpy as np

from benchmarks.common import Shape, command, interleaved, say, seconds_of, table
from benchmarks.ours import random_params
from benchmarks.workload import random_windows
from tinybert_jax.data import Batch, Windows
from tinybert_jax.data.batches import collate
from tinybert_jax.deploy.onnx import to_onnx
from tinybert_jax.deploy.quantisation import write_int8
from tinybert_jax.errors import check
from tinybert_jax.inference import JaxNetwork, Network, predict_logits
from tinybert_jax.inference.onnx_network import OnnxNetwork
from tinybert_jax.model import BertConfig, BertForQuestionAnswering, Model, save_pretrained

ModelName = Literal["tiny", "MiniLM-L3", "MiniLM-L6", "6L-768"]
SHAPES: dict[ModelName, tuple[int, int]] = {
    "tiny": (1, 48),
    "MiniLM-L3": (3, 384),
    "MiniLM-L6": (6, 384),
    "6L-768": (6, 768),
}
HEADS = 12
PEER = "PyTorch"
TURN = 0.5  # seconds, at least, and one call


def main(
    models: tuple[ModelName, ...] = ("MiniLM-L3", "MiniLM-L6", "6L-768"),
    batches: tuple[int, ...] = (1, 32),
    lengths: tuple[int, ...] = (128, 384),
    real_lengths: int = 0,
    rounds: int = 5,
) -> None:
    """Measures and prints.

    Args:
        models: which shapes.
        batches: windows a forward; with --real-lengths, the last of them.
        lengths: tokens a window.
        real_lengths: so many windows as long as SQuAD's, in place of `lengths`.
        rounds: turns of each system.
    """
    check("rounds", rounds, rounds >= 1, "at least 1")
    rows = []
    for name in models:
        with TemporaryDirectory() as folder:
            systems = make_systems(name, Path(folder))
            for label, works in workloads(systems, batches, lengths, real_lengths):
                say(f"{name}, {label}")
                rows.append(row_of(f"{name}, {label}", interleaved(works, rounds)))
    print(table(rows))


def row_of(label: str, taken: dict[str, list[float]]) -> dict[str, str]:
    """A line of the table: milliseconds, and how many times as fast as PyTorch."""
    medians = {name: median(seconds) for name, seconds in taken.items()}
    cells = {name: f"{1e3 * value:.1f} ({medians[PEER] / value:.2f}×)" for name, value in medians.items()}
    return {"": label, **cells}


class Torch:
    """transformers' own network, called as ours are."""

    def __init__(self, folder: Path) -> None:
        """Loads it."""
        import torch
        from transformers import BertForQuestionAnswering as Theirs

        self.torch, self.model = torch, Theirs.from_pretrained(folder).eval()

    def __call__(self, batch: Batch) -> np.ndarray:
        """Logits."""
        names = ("input_ids", "attention_mask", "token_type_ids")
        with self.torch.inference_mode():
            tensors = {name: self.torch.from_numpy(getattr(batch, name)).long() for name in names}
            outputs = self.model(**tensors)
        return np.stack([outputs.start_logits.numpy(), outputs.end_logits.numpy()], -1)


def make_systems(name: ModelName, folder: Path) -> dict[str, Torch | Network]:
    """All contestants, with one network's weights."""
    layers, hidden = SHAPES[name]
    config = BertConfig(**Shape(hidden=hidden, heads=HEADS, intermediate=4 * hidden).bert(layers, 0.0))
    params = random_params(BertForQuestionAnswering(config), 0, "float32")
    save_pretrained(folder / "model", config, params)
    network = to_onnx(config, params)
    (folder / "model" / "onnx").mkdir()
    (folder / "model" / "onnx" / "model.onnx").write_bytes(network.SerializeToString())
    write_int8(network, folder / "model" / "onnx" / "model_int8.onnx")
    return {
        PEER: Torch(folder / "model"),
        "ours, JAX": JaxNetwork(Model(config, params)),
        "ours, onnxruntime": OnnxNetwork.load(folder / "model"),
        "ours, onnxruntime int8": OnnxNetwork.load(folder / "model", "onnx/model_int8.onnx"),
    }


def workloads(
    systems: dict[str, Any], batches: tuple[int, ...], lengths: tuple[int, ...], count: int
) -> Iterator[tuple[str, dict[str, Callable[[], float]]]]:
    """What is timed, with what it is called."""
    if count:
        windows = random_windows(Shape(), count)
        yield (
            f"{count} windows of {windows.lengths.mean():.0f} tokens",
            {name: passes(system, windows, batches[-1]) for name, system in systems.items()},
        )
        return
    for batch in batches:
        for length in lengths:
            full = full_batch(batch, length)
            yield f"{batch} × {length}", {name: turns(system, full) for name, system in systems.items()}


def full_batch(rows: int, length: int) -> Batch:
    """Random tokens, no padding."""
    ids = np.random.default_rng(0).integers(1000, 30000, (rows, length)).astype(np.int32)
    zeros = np.zeros(rows, np.int32)
    return Batch(ids, np.zeros_like(ids), np.ones(ids.shape, bool), zeros, zeros)


def turns(network: Any, batch: Batch) -> Callable[[], float]:
    """Times forwards of a batch, logits on the host and all."""

    def call() -> None:
        np.asarray(network(batch))

    def turn() -> float:
        call()
        taken = [seconds_of(call)]
        while sum(taken) < TURN:
            taken.append(seconds_of(call))
        return median(taken)

    return turn


def passes(network: Any, windows: Windows, batch: int) -> Callable[[], float]:
    """Times a pass over windows; compiling is done before."""

    def padded_to_the_longest() -> None:
        for begin in range(0, len(windows), batch):
            rows = np.arange(begin, min(begin + batch, len(windows)))
            network(collate(windows, rows, int(windows.lengths[rows].max()), len(rows)))

    def in_buckets() -> None:
        predict_logits(network, windows, batch_size=batch, label=None)

    work = padded_to_the_longest if isinstance(network, Torch) else in_buckets
    work()
    return lambda: seconds_of(work)


if __name__ == "__main__":
    jax.config.update("jax_enable_compilation_cache", False)
    command(main, __doc__)

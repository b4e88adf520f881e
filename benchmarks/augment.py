"""Candidates of masked words a second: ours beside a PyTorch loop as haystack runs it, and one as Huawei's code does.

    python -m benchmarks.augment [--paragraphs 16] [--rounds 3] [--device cpu|gpu]

All share one random masked LM (BERT-base's shape by default) and the same paragraphs of random tokens, as long as
SQuAD's are. "ours" is the recommended preset, which shows the model 128 tokens around a word; "ours, whole" shows the
paragraph, as haystack does; "ours, pair" what Huawei's code does. haystack: batches of 16 copies of one paragraph,
float32, the vocabulary projected at every position. Huawei: one sequence at a time, the paragraph behind its masked
copy, everything kept for a backward pass that never comes, the vocabulary sorted. The peers are timed on a part of
each paragraph's words, ours on all; a system's rate is that of all words. Rounds are interleaved, after one warm-up.
"""

import importlib.util
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from statistics import median
from typing import Any

import jax
import numpy as np

from benchmarks.common import BASE, Device, Shape, command, interleaved, seconds_of, spread, table
from tinybert_jax.augment.masked_words import MaskedWord, SpecialTokens, WordPredictor
from tinybert_jax.errors import UserError, check, check_least
from tinybert_jax.model import BertConfig, BertForMaskedLM, init_params, save_pretrained

CANDIDATES, MASK, SPECIAL = 15, 103, SpecialTokens(101, 102, 103)
# Pieces of SQuAD 2.0's training paragraphs by quantile, and the share that are words the recommended preset replaces.
QUANTILES = ((0.0, 26), (0.05, 60), (0.25, 111), (0.5, 141), (0.75, 185), (0.95, 276), (0.99, 371), (1.0, 500))
REPLACEABLE = 0.33

Paragraph = tuple[np.ndarray, np.ndarray]  # its pieces, and the positions of the words to mask


@dataclass(frozen=True)
class Args:
    """The command line."""

    shape: Shape = BASE  # the masked LM's is the teacher's
    paragraphs: int = 16
    rounds: int = 3
    device: Device = "cpu"

    def __post_init__(self) -> None:
        check_least(self, paragraphs=1, rounds=1)
        check("vocab", self.shape.vocab, self.shape.vocab > 1000, "more than 1000, the first of which are no words")


def make_paragraphs(count: int, vocabulary: int) -> list[Paragraph]:
    """Random pieces of each paragraph, as long as SQuAD's, and the positions of the words to mask."""
    rng = np.random.default_rng(0)
    shares = (np.arange(count) + 0.5) / count  # evenly through the distribution
    quantiles, pieces = np.array(QUANTILES).T
    paragraphs = []
    for length in np.interp(shares, quantiles, pieces).astype(int):
        words = np.sort(rng.choice(length, max(1, round(REPLACEABLE * length)), replace=False))
        paragraphs.append((rng.integers(1000, vocabulary, length).astype(np.int32), words))
    return paragraphs


def ours(config: BertConfig, params: Any, paragraphs: list[Paragraph], **settings: Any) -> Callable[[], float]:
    """Seconds for all words of all paragraphs, batched together."""
    replaceable = np.arange(config.vocab_size) > 999
    predictor = WordPredictor(config, params, SPECIAL, replaceable, count=CANDIDATES, **settings)
    words = [MaskedWord(pieces, int(position)) for pieces, positions in paragraphs for position in positions]
    return lambda: seconds_of(lambda: list(predictor.predict(words)))


def torch_model(config: BertConfig, params: Any, device: str) -> Any:
    """The same weights in transformers' model, with the attention that both systems had."""
    import transformers

    library: Any = transformers
    with tempfile.TemporaryDirectory() as folder:
        save_pretrained(folder, config, params)
        return library.BertForMaskedLM.from_pretrained(folder, attn_implementation="eager").eval().to(device)


def haystack(model: Any, paragraphs: list[Paragraph]) -> float:
    """Seconds for one batch of 16 words of each paragraph, counted for all its words."""
    import torch

    def batch(pieces: np.ndarray, positions: np.ndarray) -> None:
        rows = np.tile(np.concatenate([[SPECIAL.cls], pieces, [SPECIAL.sep]]), (len(positions), 1))
        rows[np.arange(len(positions)), positions + 1] = MASK
        with torch.no_grad():
            logits = model(input_ids=torch.tensor(rows, device=model.device)).logits
            chosen = logits[torch.arange(len(positions)), torch.tensor(positions + 1)]
            torch.topk(chosen, CANDIDATES, dim=1).indices.cpu()

    return sum(
        seconds_of(partial(batch, pieces, positions[:16])) * len(positions) / len(positions[:16])
        for pieces, positions in paragraphs
    )


def huawei(model: Any, paragraphs: list[Paragraph]) -> float:
    """Seconds for one word of each paragraph, counted for all its words."""
    import torch

    def word(pieces: np.ndarray, position: int) -> None:
        masked = pieces.copy()
        masked[position] = MASK
        row = np.concatenate([[SPECIAL.cls], masked, [SPECIAL.sep], pieces, [SPECIAL.sep]])[:512]
        types = np.arange(len(row)) >= len(pieces) + 2
        ids, types = (torch.tensor(x[None], dtype=torch.long, device=model.device) for x in (row, types))
        logits = model(input_ids=ids, token_type_ids=types).logits
        torch.argsort(logits[0, position + 1], descending=True)[:CANDIDATES].tolist()

    return sum(
        seconds_of(partial(word, pieces, int(positions[len(positions) // 2]))) * len(positions)
        for pieces, positions in paragraphs
    )


def systems(args: Args, paragraphs: list[Paragraph]) -> dict[str, Callable[[], float]]:
    """What is measured; the peers where PyTorch is installed."""
    config = BertConfig(**args.shape.bert(args.shape.layers_teacher, dropout=0.0))
    params = jax.device_get(init_params(BertForMaskedLM(config), jax.random.key(0)))
    low = replace(config, dtype="bfloat16")
    works = {
        "ours": ours(low, params, paragraphs, context=128, pair=False),
        "ours, whole": ours(low, params, paragraphs, context=512, pair=False),
        "ours, whole, float32": ours(config, params, paragraphs, context=512, pair=False),
        "ours, pair": ours(low, params, paragraphs, context=512, pair=True),
    }
    if importlib.util.find_spec("torch") is None:
        print("PyTorch is not installed: its two loops are left out")
        return works
    model = torch_model(config, params, "cuda" if args.device == "gpu" else "cpu")
    peers = {"haystack's way": partial(haystack, model), "Huawei's way": partial(huawei, model)}
    return works | {name: partial(peer, paragraphs) for name, peer in peers.items()}


def rate_table(rates: dict[str, list[float]]) -> str:
    """Medians with their spread, and how far each system is ahead of the peers."""
    peers = [name for name in rates if name.endswith("way")]
    rows = []
    for name, some in rates.items():
        over = {f"over {peer}": f"{median(some) / median(rates[peer]):.1f}×" for peer in peers}
        rows.append({"system": name, "words a second, median (least–most)": spread(some, ".1f"), **over})
    return table(rows)


def main(args: Args) -> dict[str, list[float]]:
    """Measures and prints the table; returns every round's words a second."""
    if args.device == "gpu" and jax.default_backend() == "cpu":
        raise UserError("--device gpu needs a GPU that JAX can see: pip install -e '.[cuda]'")
    paragraphs = make_paragraphs(args.paragraphs, args.shape.vocab)
    words = sum(len(positions) for _, positions in paragraphs)
    seconds = interleaved(systems(args, paragraphs), 1 + args.rounds)  # the first compiles and warms up
    rates = {name: [words / one for one in some[1:]] for name, some in seconds.items()}
    print(f"{words} words of {len(paragraphs)} paragraphs, on {jax.devices()[0].device_kind}\n\n{rate_table(rates)}")
    return rates


if __name__ == "__main__":
    command(main, __doc__)

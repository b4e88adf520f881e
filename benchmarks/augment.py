"""Candidates of masked words a second: ours beside a PyTorch loop as haystack runs it, and one as Huawei's code does.

    python benchmarks/augment.py [--paragraphs 16] [--rounds 3] [--device cpu|gpu] [--output FILE]

All share one random masked LM (BERT-base's shape by default) and the same paragraphs of random tokens, as long as
SQuAD's are. "ours" is the recommended preset, which shows the model 128 tokens around a word; "ours, whole" shows the
paragraph, as haystack does; "ours, pair" what Huawei's code does. haystack: batches of 16 copies of one paragraph,
float32, the vocabulary projected at every position. Huawei: one sequence at a time, the paragraph behind its masked
copy, everything kept for a backward pass that never comes, the vocabulary sorted. The peers are timed on a part of
each paragraph's words, ours on all; a system's rate is that of all words. Rounds are interleaved, after one warm-up.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from tinybert_jax.augment.masked_words import MaskedWord, SpecialTokens, WordPredictor
from tinybert_jax.errors import UserError, run_script
from tinybert_jax.model import BertConfig, BertForMaskedLM, init_params, save_pretrained
from tinybert_jax.run.runtime import keep_freed_memory
from tinybert_jax.store.files import write_json

CANDIDATES, MASK, SPECIAL = 15, 103, SpecialTokens(101, 102, 103)
# Pieces of SQuAD 2.0's training paragraphs by quantile, and the share that are words the recommended preset replaces.
QUANTILES = ((0.0, 26), (0.05, 60), (0.25, 111), (0.5, 141), (0.75, 185), (0.95, 276), (0.99, 371), (1.0, 500))
REPLACEABLE = 0.33


class Work(NamedTuple):
    """A system's share of the words, and the seconds that all of them would take."""

    name: str
    seconds: Callable[[], float]


def make_paragraphs(count: int, vocabulary: int, longest: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Random pieces of each paragraph, as long as SQuAD's, and the positions of the words to mask."""
    rng = np.random.default_rng(0)
    shares = (np.arange(count) + 0.5) / count  # evenly through the distribution
    quantiles, pieces = np.array(QUANTILES).T
    lengths = np.interp(shares, quantiles, pieces).astype(int)
    paragraphs = []
    for length in np.minimum(lengths, longest):
        words = np.sort(rng.choice(length, max(1, round(REPLACEABLE * length)), replace=False))
        paragraphs.append((rng.integers(1000, vocabulary, length).astype(np.int32), words))
    return paragraphs


def ours(name: str, model: tuple[BertConfig, Any], paragraphs: list[Any], **settings: Any) -> Work:
    """All words of all paragraphs, batched together."""
    config, params = model
    replaceable = np.arange(config.vocab_size) > 999
    predictor = WordPredictor(config, params, SPECIAL, replaceable, count=CANDIDATES, **settings)
    words = [MaskedWord(pieces, int(position)) for pieces, positions in paragraphs for position in positions]

    def seconds() -> float:
        began = time.perf_counter()
        found = list(predictor.predict(words))
        assert len(found) == len(words)
        return time.perf_counter() - began

    return Work(name, seconds)


def torch_model(folder: Path, device: str) -> Any:
    """The same weights in transformers' model, with the attention that both systems had."""
    import transformers

    library: Any = transformers
    return library.BertForMaskedLM.from_pretrained(folder, attn_implementation="eager").eval().to(device)


def haystack(model: Any, paragraphs: list[Any], device: str) -> Work:
    """One batch of 16 words of each paragraph, counted for all its words."""
    import torch

    def batch(pieces: np.ndarray, positions: np.ndarray) -> None:
        rows = np.tile(np.concatenate([[SPECIAL.cls], pieces, [SPECIAL.sep]]), (len(positions), 1))
        rows[np.arange(len(positions)), positions + 1] = MASK
        with torch.no_grad():
            logits = model(input_ids=torch.tensor(rows, device=device)).logits
            chosen = logits[torch.arange(len(positions)), torch.tensor(positions + 1)]
            torch.topk(chosen, CANDIDATES, dim=1).indices.cpu()

    def seconds() -> float:
        total = 0.0
        for pieces, positions in paragraphs:
            began = time.perf_counter()
            batch(pieces, positions[:16])
            total += (time.perf_counter() - began) * len(positions) / len(positions[:16])
        return total

    return Work("haystack's way", seconds)


def huawei(model: Any, paragraphs: list[Any], device: str) -> Work:
    """One word of each paragraph, counted for all its words."""
    import torch

    def word(pieces: np.ndarray, position: int) -> None:
        masked = pieces.copy()
        masked[position] = MASK
        row = np.concatenate([[SPECIAL.cls], masked, [SPECIAL.sep], pieces, [SPECIAL.sep]])[:512]
        types = np.arange(len(row)) >= len(pieces) + 2
        ids, types = (torch.tensor(x[None], dtype=torch.long, device=device) for x in (row, types))
        logits = model(input_ids=ids, token_type_ids=types).logits
        torch.argsort(logits[0, position + 1], descending=True)[:CANDIDATES].tolist()

    def seconds() -> float:
        total = 0.0
        for pieces, positions in paragraphs:
            began = time.perf_counter()
            word(pieces, int(positions[len(positions) // 2]))
            total += (time.perf_counter() - began) * len(positions)
        return total

    return Work("Huawei's way", seconds)


def systems(arguments: argparse.Namespace, paragraphs: list[Any], config: BertConfig) -> list[Work]:
    """The systems to measure; the peers where PyTorch is installed."""
    params = jax.device_get(init_params(BertForMaskedLM(config), jax.random.key(0)))
    low = BertConfig(**{**vars(config), "dtype": "bfloat16"})
    works = [
        ours("ours", (low, params), paragraphs, context=128, pair=False),
        ours("ours, whole", (low, params), paragraphs, context=512, pair=False),
        ours("ours, whole, float32", (config, params), paragraphs, context=512, pair=False),
        ours("ours, pair", (low, params), paragraphs, context=512, pair=True),
    ]
    try:
        import torch  # noqa: F401
    except ImportError:
        print("PyTorch is not installed: its two loops are left out")
        return works
    device = "cuda" if arguments.device == "gpu" else "cpu"
    with tempfile.TemporaryDirectory() as folder:
        save_pretrained(folder, config, params)
        model = torch_model(Path(folder), device)
    return [*works, haystack(model, paragraphs, device), huawei(model, paragraphs, device)]


def main() -> None:
    """Measures and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("paragraphs", 16), ("rounds", 3), ("layers", 12), ("hidden", 768), ("vocabulary", 30522)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--longest", type=int, default=500, help="pieces of the longest paragraph")
    parser.add_argument("--device", choices=("cpu", "gpu"), default="cpu")
    parser.add_argument("--output", type=Path, help="a JSON file of every round's words a second")
    arguments = parser.parse_args()
    if arguments.device == "gpu" and jax.default_backend() == "cpu":
        raise UserError("--device gpu needs a GPU that JAX can see: pip install -e '.[cuda]'")
    keep_freed_memory()
    config = BertConfig(
        vocab_size=arguments.vocabulary,
        hidden_size=arguments.hidden,
        num_hidden_layers=arguments.layers,
        num_attention_heads=max(1, arguments.hidden // 64),
        intermediate_size=4 * arguments.hidden,
    )
    paragraphs = make_paragraphs(arguments.paragraphs, config.vocab_size, arguments.longest)
    words = sum(len(positions) for _, positions in paragraphs)
    works = systems(arguments, paragraphs, config)
    rates: dict[str, list[float]] = {work.name: [] for work in works}
    for round_ in range(arguments.rounds + 1):  # the first is for compiling and warming up
        for work in works:
            rate = words / work.seconds()
            if round_:
                rates[work.name].append(rate)
    print(f"{words} words of {len(paragraphs)} paragraphs, on {jax.devices()[0].device_kind}\n")
    print_table(rates)
    if arguments.output:
        write_json(arguments.output, {"arguments": json.loads(json.dumps(vars(arguments), default=str)), **rates})


def print_table(rates: dict[str, list[float]]) -> None:
    """Prints medians with their spread, and how far each system is ahead of the peers."""
    medians = {name: statistics.median(some) for name, some in rates.items()}
    peers = [name for name in rates if name.endswith("way")]
    print(f"| system | words a second, median (least – most) | {' | '.join(f'over {peer}' for peer in peers)} |")
    print("| --- " * (2 + len(peers)) + "|")
    for name, some in rates.items():
        cells = [f"{medians[name] / medians[peer]:.1f}×" for peer in peers]
        print(f"| {name} | {medians[name]:.1f} ({min(some):.1f} – {max(some):.1f}) | {' | '.join(cells)} |")


if __name__ == "__main__":
    run_script(main)

"""The input side: windows of SQuAD beside the tokenizer alone, and how much of an evaluation is the forward pass.

    python -m benchmarks.input --data FILE --tokenizer FOLDER [--questions N] [--rounds 5] [--model FOLDER --dev FILE]

"tokenizer alone" is the fast tokenizer over the same text, each distinct context once and every question, nothing read
out of its results. Beside it: `build_windows` in memory, and `load_windows` into an empty cache on the disk, as in
training. Rounds are interleaved; a ratio is the median of the rounds' own. With a model and dev data, one evaluation
as evaluate.py does it, part by part, imports left out and compilation counted as part of the forward pass.
"""

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.common import command, interleaved, seconds_of, spread, table
from benchmarks.machine import peak_bytes
from tinybert_jax.data import Example, WindowConfig, build_windows, load_tokenizer, load_windows, read_squad
from tinybert_jax.data.tokenizer import bare_backend
from tinybert_jax.errors import UserError, check_least
from tinybert_jax.inference import predict_logits
from tinybert_jax.model import load_qa_model
from tinybert_jax.scoring import find_answers, metric_intervals, question_scores, squad_metrics

ALONE = "tokenizer alone"


@dataclass(frozen=True)
class Args:
    """The command line."""

    data: Path  # SQuAD JSON, plain or gzipped
    tokenizer: Path  # a folder with the tokenizer's files
    questions: int | None = None  # only the first so many
    rounds: int = 5
    model: Path | None = None  # a folder with a question-answering model
    dev: Path | None = None  # the questions that it answers

    def __post_init__(self) -> None:
        check_least(self, rounds=1, questions=1)
        if (self.model is None) != (self.dev is None):
            raise UserError("--model and --dev belong together: give both or neither")
        for path in filter(None, (self.data, self.tokenizer, self.model, self.dev)):
            if not path.exists():
                raise UserError(f"{path} does not exist")


def contenders(examples: Sequence[Example], tokenizer: Any) -> dict[str, Callable[[], float]]:
    """What is timed, by name."""
    backend, config = bare_backend(tokenizer), WindowConfig()
    contexts, questions = list({example.context: None for example in examples}), [e.question for e in examples]

    def alone() -> None:
        backend.encode_batch_fast(questions, add_special_tokens=False)
        backend.encode_batch(contexts, add_special_tokens=False)

    def cached() -> None:
        with tempfile.TemporaryDirectory() as folder:
            load_windows(examples, tokenizer, config, folder)

    in_memory = partial(build_windows, examples, tokenizer, config)
    works = {ALONE: alone, "build_windows": in_memory, "load_windows, empty cache": cached}
    return {name: partial(seconds_of, work) for name, work in works.items()}


def windowing_table(questions: int, seconds: dict[str, list[float]]) -> str:
    """Seconds, and times of the tokenizer alone."""
    rows = []
    for name, own in seconds.items():
        ratios = [one / alone for one, alone in zip(own, seconds[ALONE], strict=True)]
        title = f"{questions:,} questions, {len(ratios)} rounds"
        rows.append({title: name, "seconds, median": f"{median(own):.2f}", "ratio, median": spread(ratios, ".2f")})
    return table(rows)


def evaluation_parts(model: str, dev: str) -> dict[str, float]:
    """The seconds of each part of one evaluation."""
    parts: dict[str, float] = {}

    @contextmanager
    def part(name: str) -> Iterator[None]:
        began = time.perf_counter()
        yield
        parts[name] = time.perf_counter() - began

    with part("reading the questions"):
        examples = read_squad(dev, check_offsets=False)
    with part("reading the model"):
        loaded, tokenizer = load_qa_model(model), load_tokenizer(model)
    with part("windows"):
        config = WindowConfig(max_seq_len=min(384, loaded.config.max_positions))
        windows = build_windows(examples, tokenizer, config)
    with part("forward pass"):
        logits = predict_logits(loaded.network, loaded.params, windows)
    with part("answers"):
        found = find_answers(examples, windows, logits)
    with part("metrics"):
        squad_metrics(examples, found.predictions, found.null_odds, threshold=np.inf)
        metric_intervals(question_scores(examples, found.predictions))
    return parts


def main(args: Args) -> None:
    """Measures and prints."""
    examples = read_squad(str(args.data))[: args.questions]
    seconds = interleaved(contenders(examples, load_tokenizer(str(args.tokenizer))), args.rounds)
    print(windowing_table(len(examples), seconds))
    print(f"\npeak of the process: {peak_bytes() / 2**20:,.0f} MiB")
    if args.model is not None:
        parts = evaluation_parts(str(args.model), str(args.dev))
        total = sum(parts.values())
        title, parts = f"evaluation of {args.dev}", {**parts, "all": total}
        rows = [{title: name, "seconds": f"{own:.2f}", "share": f"{own / total:.1%}"} for name, own in parts.items()]
        print(f"\n{table(rows)}")


if __name__ == "__main__":
    command("input", Args, main, __doc__)

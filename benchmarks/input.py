"""The input side: windows of SQuAD beside the tokenizer alone, and how much of an evaluation is the forward pass.

    python benchmarks/input.py --data FILE --tokenizer FOLDER [--questions N] [--rounds 5] [--model FOLDER --dev FILE]

"tokenizer alone" is the fast tokenizer over the same text, each distinct context once and every question, nothing read
out of its results. Beside it: `build_windows` in memory, and `load_windows` into an empty cache on the disk, as in
training. Rounds are interleaved; a ratio is the median of the rounds' own. With a model and dev data, one evaluation
as evaluate.py does it, part by part, imports left out and compilation counted as part of the forward pass.
"""

import argparse
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tinybert_jax.data import Example, WindowConfig, build_windows, load_tokenizer, load_windows, read_squad
from tinybert_jax.data.tokenizer import bare_backend
from tinybert_jax.errors import UserError, run_script
from tinybert_jax.inference import predict_logits
from tinybert_jax.model import load_qa_model
from tinybert_jax.run.runtime import keep_freed_memory
from tinybert_jax.scoring import find_answers, metric_intervals, question_scores, squad_metrics

ALONE = "tokenizer alone"


def contenders(examples: Sequence[Example], tokenizer: Any) -> dict[str, Callable[[], Any]]:
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
    return {ALONE: alone, "build_windows": in_memory, "load_windows, empty cache": cached}


def print_windowing(examples: Sequence[Example], tokenizer: Any, rounds: int) -> None:
    """Prints seconds, and times of the tokenizer alone."""
    timed = contenders(examples, tokenizer)
    seconds: dict[str, list[float]] = {name: [] for name in timed}
    for _ in range(rounds):
        for name, work in timed.items():
            began = time.perf_counter()
            work()
            seconds[name].append(time.perf_counter() - began)
    print(f"\n| {len(examples):,} questions, {rounds} rounds | seconds, median | ratio, median | ratio, min to max |")
    print("| --- | --- | --- | --- |")
    for name, own in seconds.items():
        ratios = [one / alone for one, alone in zip(own, seconds[ALONE], strict=True)]
        spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
        print(f"| {name} | {statistics.median(own):.2f} | {statistics.median(ratios):.2f} | {spread} |")


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


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="SQuAD JSON, plain or gzipped")
    parser.add_argument("--tokenizer", required=True, help="a folder with the tokenizer's files")
    parser.add_argument("--questions", type=int, help="only the first so many")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--model", help="a folder with a question-answering model")
    parser.add_argument("--dev", help="the questions that it answers")
    args = parser.parse_args()
    for name in ("rounds", "questions"):
        if getattr(args, name) is not None and getattr(args, name) < 1:
            raise UserError(f"--{name} must be at least 1, got {getattr(args, name)}")
    if (args.model is None) != (args.dev is None):
        raise UserError("--model and --dev belong together: give both or neither")
    for path in filter(None, (args.data, args.tokenizer, args.model, args.dev)):
        if not Path(path).exists():
            raise UserError(f"{path} does not exist")

    keep_freed_memory()
    print_windowing(read_squad(args.data)[: args.questions], load_tokenizer(args.tokenizer), args.rounds)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # Linux counts in KiB
    print(f"\npeak of the process: {peak:,.0f} MiB")
    if args.model is not None:
        parts = evaluation_parts(args.model, args.dev)
        total = sum(parts.values())
        print(f"\n| evaluation of {args.dev} | seconds | share |\n| --- | --- | --- |")
        for name, seconds in {**parts, "all": total}.items():
            print(f"| {name} | {seconds:.2f} | {seconds / total:.1%} |")


if __name__ == "__main__":
    run_script(main)

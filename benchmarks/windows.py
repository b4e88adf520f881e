"""Making windows of SQuAD, timed beside the tokenizer alone.

    python -m benchmarks.windows --data FILE --tokenizer FOLDER [--questions N] [--rounds 5]

"tokenizer alone" is the fast tokenizer over the same text, each distinct context once and every question, nothing read
out of its results. Beside it: `build_windows` in memory, and `load_windows` into an empty cache on the disk, as in
training. Rounds are interleaved; a ratio is the median of the rounds' own.
"""

import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from benchmarks.common import command, interleaved, seconds_of, spread, table
from tinybert_jax.data import Example, WindowConfig, build_windows, load_tokenizer, load_windows, read_squad
from tinybert_jax.data.tokenizer import bare_backend
from tinybert_jax.errors import check

ALONE = "tokenizer alone"


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


def main(data: str, tokenizer: str, questions: int | None = None, rounds: int = 5) -> None:
    """Measures and prints.

    Args:
        data: SQuAD JSON, plain or gzipped.
        tokenizer: a folder with the tokenizer's files.
        questions: only the first so many.
        rounds: times that everything is measured.
    """
    check("rounds", rounds, rounds >= 1, "at least 1")
    examples = read_squad(data)[:questions]
    seconds, rows = interleaved(contenders(examples, load_tokenizer(tokenizer)), rounds), []
    for name, own in seconds.items():
        ratios = [one / alone for one, alone in zip(own, seconds[ALONE], strict=True)]
        rows.append({"of": name, "seconds": spread(own), f"over the {ALONE}": spread(ratios)})
    print(f"{len(examples):,} questions, {rounds} rounds; median (least–most)\n\n{table(rows)}")


if __name__ == "__main__":
    command(main, __doc__)

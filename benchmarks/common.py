"""What the benchmarks share: sizes, the count of FLOPs, how steps are timed, command lines and tables."""

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from statistics import median
from typing import Any, Literal

import tyro

from tinybert_jax.data import Batch
from tinybert_jax.errors import check, check_least, run_script
from tinybert_jax.run.runtime import keep_freed_memory

Device = Literal["cpu", "gpu"]
# What is measured of each: 1 compares intermediate layers and runs the teacher, 2 compares predictions with the
# teacher's logits, which come with the batch.
Stage = Literal[1, 2]
DROPOUT = 0.1


@dataclass(frozen=True)
class Shape:
    """Sizes of the networks and of a batch: BERT-base into TinyBERT6 at the published recipe's batch."""

    layers_teacher: int = 12
    layers_student: int = 6
    hidden: int = 768
    heads: int = 12
    intermediate: int = 3072
    batch: int = 26
    length: int = 384
    vocab: int = 30522

    def __post_init__(self) -> None:
        check_least(self, **dict.fromkeys(vars(self), 1))
        for parts, whole in ((self.heads, "hidden"), (self.layers_student, "layers_teacher")):
            value = getattr(self, whole)
            check(whole, value, value % parts == 0, f"a multiple of {parts}")

    def __str__(self) -> str:
        return ", ".join(f"{name} {value}" for name, value in vars(self).items())

    def mapped_layer(self, m: int) -> int:
        """The teacher's layer for layer m of the student, both from 1; 0 is the embeddings' output."""
        return m * self.layers_teacher // self.layers_student

    def bert(self, layers: int, dropout: float) -> dict[str, Any]:
        """A network's settings, by the names that transformers' `BertConfig` and ours share."""
        return {
            "vocab_size": self.vocab,
            "hidden_size": self.hidden,
            "num_hidden_layers": layers,
            "num_attention_heads": self.heads,
            "intermediate_size": self.intermediate,
            "max_position_embeddings": max(512, self.length),
            "hidden_dropout_prob": dropout,
            "attention_probs_dropout_prob": dropout,
        }


BASE = Shape()


def step_flops(shape: Shape, stage: Stage, length: int) -> float:
    """FLOPs of a step's matrix products, for a batch padded to `length` = T tokens.

    A layer's forward is B·(2·T·(4·D² + 2·D·F) + 4·T²·D): four D × D projections and two D × F ones, then Q·Kᵀ and
    P·V. In stage 1 the teacher runs forward, L_t layers; the student runs forward and backward, which is three
    forwards, L_s layers. Look-ups, the losses, the span head and the optimiser are not counted.
    """
    d, f = shape.hidden, shape.intermediate
    forward = shape.batch * (2 * length * (4 * d**2 + 2 * d * f) + 4 * length**2 * d)
    return forward * (3 * shape.layers_student + (shape.layers_teacher if stage == 1 else 0))


def seconds_of(work: Callable[[], Any]) -> float:
    """How long it takes."""
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


class Stopwatch:
    """Times steps over a few batches of each length, again and again.

    The runner has `prepare`, which makes of a batch what its loader would hand to its loop, `step`, which may return
    before the update is done, and `finish`, which waits for all updates.
    """

    def __init__(self, runner: Any, batches: dict[int, list[Batch]]):
        self.runner = runner
        self.batches = {length: cycle([runner.prepare(one) for one in some]) for length, some in batches.items()}

    def __call__(self, length: int, steps: int = 1) -> float:
        """Seconds a step, of so many steps of a length."""

        def work() -> None:
            for _ in range(steps):
                self.runner.step(next(self.batches[length]))
            self.runner.finish()

        return seconds_of(work) / steps


def interleaved(works: dict[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """What each work returns, round by round, so that a machine's noise meets all alike."""
    found = [{name: work() for name, work in works.items()} for _ in range(rounds)]
    return {name: [one[name] for one in found] for name in works}


def spread(values: Sequence[float], form: str = ".3g") -> str:
    """The median, with the least and the most."""
    return f"{median(values):{form}} ({min(values):{form}}–{max(values):{form}})"


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Markdown, of rows that have the same columns."""
    lines = (rows[0].keys(), ["---"] * len(rows[0]), *(row.values() for row in rows))
    return "\n".join(f"| {' | '.join(map(str, cells))} |" for cells in lines)


def say(text: str) -> None:
    """Progress, beside the report."""
    print(text, file=sys.stderr, flush=True)


def command(main: Callable[..., Any], description: str | None) -> None:
    """Runs a benchmark; each of its settings, those of a dataclass too, is a flag."""

    def run() -> None:
        keep_freed_memory()
        name, flags = Path(sys.argv[0]).stem, (tyro.conf.OmitArgPrefixes,)
        tyro.cli(main, prog=f"python -m benchmarks.{name}", description=description, config=flags)

    run_script(run)

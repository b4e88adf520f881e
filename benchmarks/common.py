"""What the benchmarks share: sizes, the count of FLOPs, how steps are timed, command lines and tables."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from statistics import median
from typing import Annotated, Any, Literal, NamedTuple, TypeVar

import tyro

from tinybert_jax.data import Batch
from tinybert_jax.errors import check, check_least, run_script
from tinybert_jax.run.runtime import keep_freed_memory
from tinybert_jax.store.files import write_json

Args = TypeVar("Args")
Device = Literal["cpu", "gpu"]
PresetName = Literal["recommended", "haystack"]
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


Sizes = Annotated[Shape, tyro.conf.arg(name="")]  # flags without a prefix
BASE = Shape()


class Job(NamedTuple):
    """Which step is measured; one of stage 2 runs the teacher, or its logits come with the batch (`cached`)."""

    stage: int
    cached: bool = False

    @property
    def title(self) -> str:
        """A heading."""
        teacher = "teacher's logits cached" if self.cached else "teacher run in the step"
        return f"Stage {self.stage} ({'predictions' if self.stage == 2 else 'intermediate layers'}), {teacher}"


JOBS = (Job(1), Job(2), Job(2, cached=True))


def step_flops(shape: Shape, job: Job, length: int) -> float:
    """FLOPs of a step's matrix products, for a batch padded to `length` = T tokens.

    A layer's forward is B·(2·T·(4·D² + 2·D·F) + 4·T²·D): four D × D projections and two D × F ones, then Q·Kᵀ and
    P·V. The teacher runs forward, L_t layers, unless its logits are cached; the student forward and backward, which
    is three forwards, L_s layers. Look-ups, the losses, the span head and the optimiser are not counted.
    """
    d, f = shape.hidden, shape.intermediate
    forward = shape.batch * (2 * length * (4 * d**2 + 2 * d * f) + 4 * length**2 * d)
    return forward * (3 * shape.layers_student + (0 if job.cached else shape.layers_teacher))


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


def save(output: Path | None, args: Any, **figures: Any) -> dict[str, Any]:
    """Returns the figures, and writes them as JSON, with the settings, where a file is given."""
    if output:
        write_json(output, {"settings": {name: str(value) for name, value in vars(args).items()}, **figures})
    return figures


def command(name: str, args: type[Args], main: Callable[[Args], Any], description: str | None) -> None:
    """Runs a benchmark; each of its settings is a flag."""

    def run() -> None:
        keep_freed_memory()
        main(tyro.cli(args, prog=f"python -m benchmarks.{name}", description=description))

    run_script(run)

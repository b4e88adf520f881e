"""What a run would do: its stages, the memory that they need and the time that they take, before any of it is done."""

import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax

from tinybert_jax.data import Epochs, Windows
from tinybert_jax.inference import JaxNetwork, predict_logits
from tinybert_jax.inference.memory import device_memory
from tinybert_jax.model import Model
from tinybert_jax.run.needs import Needs, extent_of, needs_of
from tinybert_jax.run.order import Work, work_of
from tinybert_jax.run.prepare import Ingredients, prepare
from tinybert_jax.run.recipe import Recipe
from tinybert_jax.run.stages import Program, check_stages, program_of
from tinybert_jax.sharding import data_mesh, shard_batch

_MEASURED_STEPS = 10
_SCORED_BATCHES = 4


class StagePlan(NamedTuple):
    """A stage as it would run.

    Attributes:
        name: the model's and the stage's, such as "student/2-prediction".
        windows: what it trains on.
        copies: how many times as many there will be at most, once the run has augmented them.
        steps: its length.
        batches: how many of its batches have which length, in tokens.
        memory: of the largest program on one device, in bytes, as the compiler plans it.
        seconds: for all steps, from those that were measured.
        cached: the windows whose teacher's logits are computed first.
        cached_seconds: for these, likewise.
    """

    name: str
    windows: int
    copies: int
    steps: int
    batches: Mapping[int, int]
    memory: int
    seconds: float
    cached: int
    cached_seconds: float


class Plan(NamedTuple):
    """A run as it would go.

    Attributes:
        stages: in order.
        questions: to score every model on.
        scored_windows: of all models.
        scoring_seconds: for these.
        needs: of disks, and of memory at the least.
        memory: that one device has, in bytes.
    """

    stages: tuple[StagePlan, ...]
    questions: int
    scored_windows: int
    scoring_seconds: float
    needs: Needs
    memory: int


def plan(recipe: Recipe) -> Plan:
    """Prepares a run as `train` does, measures a few steps of each stage, and throws it all away.

    Raises:
        UserError: what `train` would refuse before its first step.
    """
    with tempfile.TemporaryDirectory() as folder:
        ingredients = prepare(recipe, Path(folder))
        check_stages(recipe, ingredients)
        stages = tuple(_plan_stage(work, recipe, ingredients) for work in work_of(recipe, ingredients))
        needs = needs_of(recipe, ingredients, Path(folder))
        models = len({stage.name.split("/")[0] for stage in stages})
        dev = ingredients.dev
        if dev is None:
            return Plan(stages, 0, 0, 0.0, needs, device_memory())
        seconds = models * _forward_seconds(ingredients.student, dev.windows, recipe)
    return Plan(stages, len(dev.examples), models * len(dev.windows), seconds, needs, device_memory())


def _plan_stage(work: Work, recipe: Recipe, ingredients: Ingredients) -> StagePlan:
    name, stage, student, teacher = work
    windows = ingredients.data_of(stage).windows
    epochs, copies, steps, cached = extent_of(work, recipe, ingredients)
    lengths = Counter(epochs.length_at(step) for step in range(min(steps, epochs.steps_per_epoch)))
    key = jax.random.key(0)
    program = program_of(stage, steps, student, teacher, recipe, cached=bool(cached), key=key)
    measured = _measure_steps(program, epochs, key)
    mean = sum(measured.seconds[length] * count for length, count in lengths.items()) / lengths.total()
    return StagePlan(
        name,
        windows=len(windows),
        copies=copies,
        steps=steps,
        batches=dict(sorted(lengths.items())),
        memory=measured.memory,
        seconds=mean * steps,
        cached=len(windows) if cached else 0,
        cached_seconds=sum(_forward_seconds(model, windows, recipe) for model in cached),
    )


class _Measured(NamedTuple):
    memory: int  # of the largest step
    seconds: dict[int, float]  # the median of a step, by the batch's length


def _measure_steps(program: Program, epochs: Epochs, key: jax.Array) -> _Measured:
    state, teacher = program.fresh_state(), program.taught.params
    first = {}
    for number in range(epochs.steps_per_epoch):
        first.setdefault(epochs.length_at(number), number)
    memory, seconds = 0, {}
    for length, number in first.items():
        batch = shard_batch(epochs.batch_at(number), data_mesh())
        compiled = program.step.lower(state, teacher, batch, key).compile()  # pyright: ignore[reportFunctionMemberAccess]
        memory = max(memory, _planned_memory(compiled))
        taken = []
        for _ in range(-(-_MEASURED_STEPS // len(first)) + 1):
            began = time.perf_counter()
            state, metrics = compiled(state, teacher, batch, key)
            jax.block_until_ready((state, metrics))
            taken.append(time.perf_counter() - began)
        seconds[length] = statistics.median(taken[1:])  # the first one touches its memory for the first time
    return _Measured(memory, seconds)


def _planned_memory(compiled: Any) -> int:
    """What a compiled program needs on one device, in bytes; what it is given included."""
    plan = compiled.memory_analysis()
    sizes = plan.argument_size_in_bytes, plan.output_size_in_bytes, plan.temp_size_in_bytes
    return sum(sizes) - plan.alias_size_in_bytes


def _forward_seconds(model: Model, windows: Windows, recipe: Recipe) -> float:
    """Seconds for the logits of all windows, from those of a few batches of them."""
    sample = windows.slice(0, min(len(windows), _SCORED_BATCHES * recipe.eval_batch_size))
    settings: dict[str, Any] = {"batch_size": recipe.eval_batch_size, "buckets": recipe.batch_lengths, "label": None}
    network, seconds = JaxNetwork(model), []
    for _ in range(2):  # the first time, it compiles
        began = time.perf_counter()
        predict_logits(network, sample, **settings)
        seconds.append(time.perf_counter() - began)
    return seconds[-1] * len(windows.tokens) / len(sample.tokens)


def in_words(plan: Plan) -> str:
    """The plan for people to read, and what to change where it does not fit."""
    lines: list[str] = []
    for stage in plan.stages:
        if stage.cached:
            lines.append(
                f"{stage.name}: teacher's logits of {stage.cached:,} windows: {_duration(stage.cached_seconds)}"
            )
        copies = f" × {stage.copies} once copies are made" if stage.copies > 1 else ""
        batches = ", ".join(f"{count:,} of {length}" for length, count in stage.batches.items())
        lines.append(
            f"{stage.name}: {stage.windows:,} windows{copies}, {stage.steps:,} steps (an epoch's batches by tokens: "
            f"{batches}), {stage.memory / 1e9:.2f} GB, {_duration(stage.seconds)}"
        )
    lines.append(
        f"scores: {plan.questions:,} questions, {plan.scored_windows:,} windows: {_duration(plan.scoring_seconds)}"
    )
    total = plan.scoring_seconds + sum(stage.seconds + stage.cached_seconds for stage in plan.stages)
    peak = max(stage.memory for stage in plan.stages)
    lines.append(f"needs {plan.needs}")
    lines.append(
        f"in all {_duration(total)}; memory at most {peak / 1e9:.2f} GB of {plan.memory / 1e9:.1f} GB a device"
    )
    return "\n".join((*lines, *_advice(plan.stages, plan.memory)))


def _advice(stages: Sequence[StagePlan], memory: int) -> Iterator[str]:
    for stage in stages:
        if stage.memory > 0.9 * memory:  # the rest is the system's, and of programs that are not the step
            yield (
                f"{stage.name} will not fit: halve its batch_size and double its accumulate, for updates of as many "
                "windows, though not of the same ones; else --dtype bfloat16, or a lower --windows.max-seq-len"
            )


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"

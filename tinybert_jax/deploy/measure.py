"""Models measured side by side: official figures and how sure they are, size, and latency one question at a time."""

import os
import platform
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from tinybert_jax.data import Example
from tinybert_jax.inference import Answerer, answer, evaluate
from tinybert_jax.inference.loading import Loaded
from tinybert_jax.model.tree import shapes
from tinybert_jax.scoring import as_golds, metric_differences, metric_intervals, question_scores

_TIMED = 100  # questions: the fewest of which a 95th percentile still leaves some beyond it
_PACKAGES = ("tinybert-jax", "jax", "onnx", "onnxruntime", "tokenizers")


class Scored(NamedTuple):
    """A model's figures.

    Attributes:
        figures: exact and F1 in percent, and their 95% intervals.
        questions: as in `question_scores`.
    """

    figures: dict[str, Any]
    questions: dict[str, dict[str, float]]


def score(model: Loaded, examples: Sequence[Example]) -> Scored:
    """Scores a model as `tinybert evaluate` does: its own settings, official rules.

    Raises:
        UserError: a logit is not finite, or the question's tokens leave a window no room.
    """
    evaluation = evaluate(model.network, model.dataset(examples), model.settings.answers)
    questions = question_scores(examples, evaluation.answers.predictions)
    figures = {name: round(evaluation.metrics[name], 4) for name in ("exact", "f1")}
    return Scored(figures | metric_intervals(questions), questions)


def differences(scored: Mapping[str, Scored], references: Sequence[str]) -> dict[str, dict[str, Any]]:
    """How far each model is from each of the references, itself excepted, by a paired bootstrap.

    Returns:
        {model: {reference: as `metric_differences`, the model less the reference}}.
    """
    return {
        label: {
            reference: metric_differences(own.questions, scored[reference].questions)
            for reference in references
            if reference != label
        }
        for label, own in scored.items()
    }


def answered_by(model: Loaded, examples: Sequence[Example]) -> list[Example]:
    """The questions with a model's answers as the gold ones: scores are then agreement with that model."""
    said = answer(model.network, model.dataset(examples), model.settings.answering)
    return as_golds(examples, said.answers.predictions)


def parameters(model: Loaded) -> int:
    """How many numbers were trained, biases and embeddings included."""
    return sum(int(np.prod(leaf.shape)) for leaf in shapes(model.network.config, "question-answering").values())


def timed(examples: Sequence[Example]) -> list[Example]:
    """The questions that latency is measured on: up to 100 that hold text, spread evenly over the data."""
    asked = [example for example in examples if example.question.strip() and example.context.strip()]
    chosen = np.linspace(0, len(asked) - 1, min(_TIMED, len(asked))).round().astype(int)
    return [asked[i] for i in chosen]


def latency(model: Loaded, examples: Sequence[Example]) -> dict[str, float]:
    """Milliseconds from a question and its passage to the answer, tokenising included, a window a forward.

    All questions are asked once before, so that nothing is compiled or read while the clock runs.
    """
    answerer = Answerer(*model, batch_size=1)
    for example in examples:
        answerer(example.question, example.context)
    seconds = []
    for example in examples:
        begin = time.perf_counter()
        answerer(example.question, example.context)
        seconds.append(time.perf_counter() - begin)
    median, p95 = np.percentile(seconds, (50, 95))
    return {"median": round(1000 * float(median), 2), "p95": round(1000 * float(p95), 2)}


def machine() -> dict[str, Any]:
    """What decides how fast figures are had and how they are rounded: processor, its threads, and JAX's device."""
    return {"processor": _processor(), "threads": _threads(), "device": jax.devices()[0].device_kind}


def versions() -> dict[str, str]:
    """Of the packages that compute; those not installed are left out."""
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:  # the exports' are an extra, and ours may be run from a checkout
            continue
    return found


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:  # not Linux
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, "") or platform.processor() or platform.machine()


def _threads() -> int:
    """As many as this process may use; both runtimes take as many as they find."""
    allowed = getattr(os, "sched_getaffinity", None)
    return len(allowed(0)) if allowed else os.cpu_count() or 1

"""What one system, a model or whoever wrote a file, answered to the questions, and what that scores."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from jaxtyping import Float

from tinybert_jax.data.example import Example
from tinybert_jax.scoring import metric_intervals, question_scores, squad_metrics
from tinybert_jax.scoring.calibration import given_probability

if TYPE_CHECKING:
    from tinybert_jax.inference import Evaluation


class System(NamedTuple):
    """One system's answers. Sequences have an entry a question, in the questions' order.

    Attributes:
        name: what the user calls it.
        metrics: the official ones, with intervals.
        scores: as in `question_scores`.
        answers: texts, "" for "no answer".
        starts: where answers begin in their contexts, in characters; None where that is not known.
        spans: the answers as if there were one to each question; None where only `answers` are known.
        odds: how much "no answer" is favoured over `spans`; None likewise.
        threshold: "no answer" is given where the odds exceed it; None where they decide nothing.
        probability: how probable the system calls its answers; None where it does not say.
    """

    name: str
    metrics: dict[str, Any]
    scores: dict[str, dict[str, float]]
    answers: list[str]
    starts: list[int | None]
    spans: list[str] | None = None
    odds: Float[np.ndarray, " Q"] | None = None
    threshold: float | None = None
    probability: Float[np.ndarray, " Q"] | None = None

    def column(self, metric: str) -> Float[np.ndarray, " Q"]:
        """The questions' scores in [0, 1]: "exact" or "f1"."""
        return np.array(list(self.scores[metric].values()))

    @property
    def is_right(self) -> np.ndarray:
        """Whether answers match a gold answer exactly, by the official rules."""
        return self.column("exact") == 1


def of_model(name: str, examples: Sequence[Example], evaluation: "Evaluation", temperature: float) -> System:
    """A model's answers as `evaluate` found them.

    Args:
        name: the model's.
        examples: the questions that it was evaluated on.
        evaluation: what was found.
        temperature: the model's own, which its probabilities depend on.
    """
    found, config = evaluation.answers, evaluation.config
    answers = [found.predictions[example.id] for example in examples]
    best = [found.n_best[example.id] for example in examples]
    is_null = np.array([not answer for answer in answers])
    return System(
        name,
        evaluation.metrics,
        question_scores(examples, found.predictions),
        answers,
        starts=[spans[0]["start"] if answer else None for answer, spans in zip(answers, best, strict=True)],
        spans=[spans[0]["text"] if spans else "" for spans in best],
        odds=np.array([found.null_odds[example.id] for example in examples]),
        threshold=None if config.no_answer == "never" else config.null_threshold,
        probability=given_probability(found.options, is_null, temperature),
    )


def of_predictions(
    name: str,
    examples: Sequence[Example],
    predictions: Mapping[str, str],
    null_odds: Mapping[str, float] | None = None,
    threshold: float = 1.0,
) -> System:
    """The answers of a file, scored exactly as the official script does.

    Args:
        name: the file's.
        examples: the questions.
        predictions: question id -> answer, "" for "no answer".
        null_odds: question id -> how much "no answer" is favoured; None where nobody says.
        threshold: odds above it count as "no answer".

    Raises:
        UserError: as `squad_metrics`.
    """
    scores = question_scores(examples, predictions, null_odds, threshold)
    metrics = squad_metrics(examples, predictions, null_odds, threshold) | metric_intervals(scores)
    spans = [predictions[example.id] for example in examples]
    unknown: list[int | None] = [None] * len(spans)
    if null_odds is None:
        return System(name, metrics, scores, spans, unknown)
    odds = np.array([null_odds[example.id] for example in examples], np.float64)
    answers = ["" if over else span for span, over in zip(spans, odds > threshold, strict=True)]
    return System(name, metrics, scores, answers, unknown, spans, odds, threshold)

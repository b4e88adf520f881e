"""Score a model on a data set: forward over all windows, answers, official metrics."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tinybert_jax.data import Dataset
from tinybert_jax.inference.network import Network
from tinybert_jax.inference.predict import predict_logits
from tinybert_jax.scoring import (
    AnswerConfig,
    Answers,
    Said,
    agreement,
    as_golds,
    best_thresholds,
    check_labelled,
    find_answers,
    metric_intervals,
    question_scores,
    squad_metrics,
)
from tinybert_jax.store.files import write_json


class Evaluation(NamedTuple):
    """Official metrics in percent, with the intervals of exact and F1, the answers they were measured on, and how.

    Attributes:
        metrics: the official script's, and "exact_interval" and "f1_interval"; or those of `agreement`.
        answers: what was measured.
        config: how answers were read off the logits, "auto" decided.
    """

    metrics: dict[str, Any]
    answers: Answers
    config: AnswerConfig


def evaluate(
    network: Network,
    data: Dataset,
    answers: AnswerConfig | None = None,
    *,
    batch_size: int = 32,
    buckets: Sequence[int] = (),
) -> Evaluation:
    """Answers every question of `data` and scores the answers by the official SQuAD rules.

    The `best_*` figures are swept over each question's best answer, predicted or not: they do not depend on
    `answers.null_threshold`.

    Where `answers.no_answer` is "auto", "no answer" is predicted only if some question of `data` is unanswerable.

    Args:
        network: what computes the logits.
        data: questions and their windows.
        answers: how answers are read off the logits.
        batch_size: windows in a forward pass.
        buckets: batch lengths.

    Raises:
        UserError: the questions are not labelled, or a logit is not finite.
    """
    check_labelled(data.examples)
    answers = (answers or AnswerConfig()).decided(any(example.is_impossible for example in data.examples))
    found = answer(network, data, answers, batch_size=batch_size, buckets=buckets).answers
    metrics = squad_metrics(data.examples, found.predictions)
    metrics |= best_thresholds(data.examples, found.best_spans, found.null_odds)
    metrics |= metric_intervals(question_scores(data.examples, found.predictions))
    return Evaluation(metrics, found, answers)


def answer(
    network: Network, data: Dataset, answers: AnswerConfig, *, batch_size: int = 32, buckets: Sequence[int] = ()
) -> Said:
    """Answers every question of `data`, labelled or not; arguments as in `evaluate`."""
    logits = predict_logits(network, data.windows, batch_size=batch_size, buckets=buckets)
    return Said(find_answers(data.examples, data.windows, logits, answers), data.windows, logits)


def evaluate_against(
    network: Network,
    data: Dataset,
    teacher: Said,
    answers: AnswerConfig | None = None,
    *,
    batch_size: int = 32,
    buckets: Sequence[int] = (),
) -> Evaluation:
    """Answers every question of `data`, and compares the answers to a teacher's; gold answers are not looked at.

    Where `answers.no_answer` is "auto", "no answer" is predicted only if the teacher says so anywhere.

    Args:
        network: what computes the logits.
        data: questions and their windows.
        teacher: what the teacher made of these questions.
        answers: how answers are read off the logits.
        batch_size: windows in a forward pass.
        buckets: batch lengths.

    Raises:
        UserError: a logit is not finite.
    """
    taught = as_golds(data.examples, teacher.answers.predictions)
    answers = (answers or AnswerConfig()).decided(any(example.is_impossible for example in taught))
    said = answer(network, data, answers, batch_size=batch_size, buckets=buckets)
    return Evaluation(agreement(data.examples, said, teacher), said.answers, answers)


def write_evaluation(folder: Path, evaluation: Evaluation) -> None:
    """Writes metrics.json, predictions.json, best_spans.json and null_odds.json, each whole or not at all.

    predictions.json is empty where no answer is predicted; best_spans.json is not, so that the official script finds
    the best threshold from it and null_odds.json.
    """
    write_json(folder / "metrics.json", evaluation.metrics)
    write_json(folder / "predictions.json", evaluation.answers.predictions)
    write_json(folder / "best_spans.json", evaluation.answers.best_spans)
    write_json(folder / "null_odds.json", evaluation.answers.null_odds)

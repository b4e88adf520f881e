"""Scoring: logits to answers, answers to the official SQuAD figures and how far to trust them."""

from tinybert_jax.scoring.answers import AnswerConfig, Answers, find_answers
from tinybert_jax.scoring.bootstrap import (
    Difference,
    interval,
    metric_differences,
    metric_intervals,
    paired_bootstrap,
)
from tinybert_jax.scoring.metrics import (
    best_thresholds,
    exact_score,
    f1_score,
    normalize_answer,
    question_scores,
    squad_metrics,
)

__all__ = [
    "AnswerConfig",
    "Answers",
    "Difference",
    "best_thresholds",
    "exact_score",
    "f1_score",
    "find_answers",
    "interval",
    "metric_differences",
    "metric_intervals",
    "normalize_answer",
    "paired_bootstrap",
    "question_scores",
    "squad_metrics",
]

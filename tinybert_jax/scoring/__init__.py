"""Scoring: logits to answers, answers to the official SQuAD figures and how far to trust them."""

from tinybert_jax.scoring.agreement import Said, agreement, as_golds
from tinybert_jax.scoring.answers import NO_SPAN_ODDS, Answers, check_inputs, find_answers
from tinybert_jax.scoring.bootstrap import (
    Difference,
    interval,
    metric_differences,
    metric_intervals,
    paired_bootstrap,
)
from tinybert_jax.scoring.metrics import (
    best_thresholds,
    check_labelled,
    exact_score,
    f1_score,
    normalize_answer,
    question_scores,
    squad_metrics,
)
from tinybert_jax.scoring.spans import AnswerConfig, Spans, best_spans, null_scores, padded_options

__all__ = [
    "NO_SPAN_ODDS",
    "AnswerConfig",
    "Answers",
    "Difference",
    "Said",
    "Spans",
    "agreement",
    "as_golds",
    "best_spans",
    "best_thresholds",
    "check_inputs",
    "check_labelled",
    "exact_score",
    "f1_score",
    "find_answers",
    "interval",
    "metric_differences",
    "metric_intervals",
    "normalize_answer",
    "null_scores",
    "padded_options",
    "paired_bootstrap",
    "question_scores",
    "squad_metrics",
]

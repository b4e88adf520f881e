"""Scoring: logits to answers, answers to the official SQuAD figures."""

from tinybert_jax.scoring.answers import AnswerConfig, Answers, find_answers
from tinybert_jax.scoring.metrics import exact_score, f1_score, normalize_answer, question_scores, squad_metrics

__all__ = [
    "AnswerConfig",
    "Answers",
    "exact_score",
    "f1_score",
    "find_answers",
    "normalize_answer",
    "question_scores",
    "squad_metrics",
]

"""A trained model at work: logits, answers, scores, and a teacher's logits kept on disk."""

from tinybert_jax.inference.answerer import Answer, Answerer
from tinybert_jax.inference.evaluate import Evaluation, answer, evaluate, evaluate_against, write_evaluation
from tinybert_jax.inference.network import JaxNetwork, Network
from tinybert_jax.inference.predict import predict_blocks, predict_logits
from tinybert_jax.inference.settings import QASettings, load_settings, write_settings
from tinybert_jax.inference.teacher_cache import cached_logits

__all__ = [
    "Answer",
    "Answerer",
    "Evaluation",
    "JaxNetwork",
    "Network",
    "QASettings",
    "answer",
    "cached_logits",
    "evaluate",
    "evaluate_against",
    "load_settings",
    "predict_blocks",
    "predict_logits",
    "write_evaluation",
    "write_settings",
]

"""A trained model at work: logits, answers, scores, and a teacher's logits kept on disk."""

from tinybert_jax.inference.evaluate import Evaluation, evaluate, write_evaluation
from tinybert_jax.inference.predict import predict_blocks, predict_logits
from tinybert_jax.inference.teacher_cache import cached_logits

__all__ = ["Evaluation", "cached_logits", "evaluate", "predict_blocks", "predict_logits", "write_evaluation"]

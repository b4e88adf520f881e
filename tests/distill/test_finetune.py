from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from tinybert_jax.distill import Finetune, LossInputs, losses
from tinybert_jax.model import Outputs


class Labels(NamedTuple):
    attention_mask: np.ndarray
    start: np.ndarray
    end: np.ndarray


BATCH = Labels(np.arange(5) < np.array([5, 3])[:, None], np.array([1, 0]), np.array([3, 2]))


def test_it_is_the_hard_loss_and_reads_no_teacher():
    logits = np.random.default_rng(0).normal(size=(2, 5, 2))
    student = Outputs(jnp.asarray(logits, jnp.float32), hidden_states=())
    loss, terms = Finetune().loss(LossInputs(student, None, {}, BATCH))
    assert loss == losses.span_cross_entropy(student.logits, BATCH.start, BATCH.end, BATCH.attention_mask)
    assert terms == {}
    assert not Finetune().uses_teacher
    assert not Finetune().reads_cache

"""Shapes in signatures are checked while the tests run, and never where users run."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import TypeCheckError

from tinybert_jax.distill import losses
from tinybert_jax.model import BertForQuestionAnswering, forward
from tinybert_jax.model.ops.attention import formed
from tinybert_jax.model.ops.products import matmul
from tinybert_jax.scoring.bootstrap import interval

X = jnp.ones((2, 3, 2, 4))


@pytest.mark.parametrize(
    "call",
    [
        lambda: matmul(jnp.ones((2, 3)), jnp.ones((4, 5))),
        lambda: jax.eval_shape(formed, X, X, X[:, :2], np.ones((2, 3), bool)),
        lambda: formed(X, X, X, np.ones((2, 3), np.float32)),
        lambda: losses.hidden_mse(X[:, :, 0], X[:1, :, 0], np.ones((2, 3), bool)),
        lambda: interval(np.ones((2, 2))),
    ],
)
def test_what_does_not_fit_is_refused(call):
    with pytest.raises(TypeCheckError):
        call()


def test_a_mask_of_another_length_is_refused(config, params, batch):
    wrong = batch._replace(attention_mask=batch.attention_mask[:, :-1])
    with pytest.raises(TypeCheckError, match="attention_mask"):
        jax.eval_shape(lambda: forward(BertForQuestionAnswering(config), params, wrong))


def test_users_pay_nothing():
    code = """
import sys
from tinybert_jax.model.ops.products import matmul
print(hasattr(matmul, "__wrapped__"), "beartype" in sys.modules)
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert ended.stdout.split() == ["False", "False"]

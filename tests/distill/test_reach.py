import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from tinybert_jax.distill import Finetune, Intermediate, LossInputs, Prediction, Relations
from tinybert_jax.distill.reach import reached
from tinybert_jax.model import BertForQuestionAnswering, forward


def test_what_a_function_reads():
    params = {"used": jnp.ones(3), "through jit": jnp.ones(()), "unused": jnp.ones(2), "computed for nothing": 1.0}

    def loss(params, scale):
        _ = params["computed for nothing"] + scale
        return (params["used"] * scale).sum() + jax.jit(jnp.sin)(params["through jit"])

    expected = {"used": True, "through jit": True, "unused": False, "computed for nothing": False}
    assert reached(loss, params, 2.0) == expected
    assert jax.jit(lambda p: jax.tree.map(jnp.asarray, reached(loss, p, 2.0)))(params) == expected


def test_a_call_reads_what_its_results_do_and_a_loop_all():
    @jax.custom_vjp
    def two(a, b):
        return 2 * a, 3 * b

    two.defvjp(lambda a, b: (two(a, b), None), lambda _, g: (2 * g[0], 3 * g[1]))

    def loop(a, b):
        return jax.lax.scan(lambda carry, _: ((carry[1], carry[0] + b), None), (a, a), None, length=2)[0]

    assert reached(lambda params: two(*params)[0], (1.0, 2.0)) == (True, False)
    assert reached(lambda params: loop(*params)[0], (1.0, 2.0)) == (True, True)


def test_a_constant_reads_nothing():
    assert reached(lambda params: 1.0, [jnp.ones(2)]) == [False]


def test_a_value_of_zero_is_reached():
    assert reached(lambda params: 0.0 * params, jnp.ones(())) is True


# Without hidden states, nothing behind the last layer's queries and keys is read.
HEAD = {"qa_outputs"}
BEHIND_VALUES = HEAD | {f"1.{part}" for part in ("attention.output", "intermediate", "output")}
BEHIND_SCORES = BEHIND_VALUES | {"1.attention.self.value"}


@pytest.mark.parametrize(
    ("objective", "expected"),
    [
        (Finetune(), set()),
        (Prediction(), set()),
        (Intermediate(), HEAD),
        (Intermediate("probabilities", "counted"), HEAD),
        (Intermediate(embeddings=False, attention_weight=0.0), HEAD),
        (Intermediate(hidden_weight=0.0), BEHIND_SCORES),
        (Intermediate("probabilities", hidden_weight=0.0), BEHIND_SCORES),
        (Relations(), BEHIND_VALUES),
    ],
    ids=["labels", "prediction", "scores", "probabilities", "hidden", "only-scores", "only-probabilities", "relations"],
)
def test_what_an_objective_reads_of_a_student_is_what_has_a_gradient(
    config, params, random_params, batch, objective, expected
):
    model = BertForQuestionAnswering(config)
    run = partial(forward, model, inputs=batch, attention=objective.attention)
    taught = run(random_params(model, 2))

    def loss(params):
        return objective.loss(LossInputs(run(params), taught, {}, batch))[0]

    found = flatten_dict(reached(loss, params), sep=".")
    unread = {name for name, is_read in found.items() if not is_read}
    layer = r"(?:bert\.encoder\.layer\.)?(.*?)(?:\.dense|\.LayerNorm)?\.\w+"
    assert {re.fullmatch(layer, name)[1] for name in unread} == expected
    gradients = flatten_dict(jax.grad(loss)(params), sep=".")
    assert {name for name, gradient in gradients.items() if not np.asarray(gradient).any()} >= unread

"""Run by test_step.py in a process that has two devices: prints, as JSON, what changes against one device."""

import json
from functools import partial

import jax
import numpy as np
import optax

from tinybert_jax.data import Batch
from tinybert_jax.distill import (
    Intermediate,
    create_state,
    make_train_step,
)
from tinybert_jax.errors import UserError
from tinybert_jax.model import BertConfig, BertForQuestionAnswering, init_params
from tinybert_jax.model.ops.dropout import dropout
from tinybert_jax.sharding import data_mesh, replicate, shard_batch

SIZES = {"vocab_size": 20, "num_attention_heads": 2, "intermediate_size": 16, "max_position_embeddings": 8}
STUDENT = BertConfig(hidden_size=8, num_hidden_layers=1, **SIZES)
TEACHER = BertConfig(hidden_size=16, num_hidden_layers=1, **SIZES)


def batch():
    """Four rows of unlike lengths, so that the devices hold unlike numbers of tokens; the last row is filler."""
    rng = np.random.default_rng(0)
    real = np.arange(8) < np.array([8, 7, 2, 0])[:, None]
    ids = np.where(real, rng.integers(1, 20, real.shape), 0).astype(np.int32)
    zeros = np.zeros(4, np.int32)
    return Batch(ids, np.zeros_like(ids), real, zeros, zeros)


def random_params(model, seed):
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(partial(init_params, model), jax.random.key(0))
    return jax.tree.map(lambda leaf: (0.2 * rng.normal(size=leaf.shape)).astype(np.float32), shapes)


def train(mesh):
    """Loss and parameters after three steps with dropout."""
    student, teacher = BertForQuestionAnswering(STUDENT), BertForQuestionAnswering(TEACHER)
    objective, optimizer = Intermediate(), optax.sgd(0.1)
    step = make_train_step(student, teacher, objective, optimizer)
    projection = objective.init_projection(jax.random.key(2), STUDENT, TEACHER)
    with jax.set_mesh(mesh):
        taught = replicate(random_params(teacher, 1), mesh)
        state = create_state(random_params(student, 0), projection, optimizer, mesh)
        for _ in range(3):
            state, metrics = step(state, taught, shard_batch(batch(), mesh), jax.random.key(3))
        return float(metrics["loss"]), jax.device_get(state.params)


def main():
    one = jax.make_mesh((1,), ("data",), axis_types=(jax.sharding.AxisType.Auto,), devices=jax.devices()[:1])
    two = data_mesh()
    x = np.arange(1, 4 * 6 * 5 + 1, dtype=np.float32).reshape(4, 6, 5)
    dropped = jax.jit(dropout, static_argnums=1)
    whole, sharded = (dropped(shard_batch(x, mesh), 0.3, jax.random.key(0)) for mesh in (one, two))
    try:
        shard_batch(x[:3], two)
        message = ""
    except UserError as error:
        message = str(error)
    losses, params = zip(train(one), train(two), strict=True)
    differences = jax.tree.map(lambda a, b: float(np.abs(a - b).max()), *params)
    found = {
        "devices": two.size,
        "sharded": len(sharded.sharding.device_set),
        "dropout_equal": bool((np.asarray(whole) == np.asarray(sharded)).all()),
        "losses": losses,
        "largest_difference": max(jax.tree.leaves(differences)),
        "message": message,
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()

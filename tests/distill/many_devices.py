"""Run by test_step.py in a process that has eight devices: prints, as JSON, what changes against one device."""

import json
from dataclasses import replace
from functools import partial

import jax
import numpy as np
import optax
from jax.sharding import Mesh

from tinybert_jax.data import Batch
from tinybert_jax.distill import (
    Intermediate,
    Prediction,
    create_state,
    make_train_step,
)
from tinybert_jax.model import BertConfig, BertForQuestionAnswering, init_params
from tinybert_jax.model.ops.dropout import dropout
from tinybert_jax.model.ops.platform import Platform
from tinybert_jax.sharding import data_mesh, replicate, shard_batch, split

SIZES = {"vocab_size": 20, "num_attention_heads": 2, "intermediate_size": 16, "max_position_embeddings": 8}
STUDENT = BertConfig(hidden_size=8, num_hidden_layers=1, **SIZES)
TEACHER = BertConfig(hidden_size=16, num_hidden_layers=1, **SIZES)


def batch():
    """Five rows of unlike lengths, so that devices hold unlike numbers of tokens; one is filler."""
    rng = np.random.default_rng(0)
    real = np.arange(8) < np.array([8, 7, 2, 5, 0])[:, None]
    ids = np.where(real, rng.integers(1, 20, real.shape), 0).astype(np.int32)
    zeros = np.zeros(len(real), np.int32)
    return Batch(ids, np.zeros_like(ids), real, zeros, zeros)


def random_params(model, seed):
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(partial(init_params, model), jax.random.key(0))
    return jax.tree.map(lambda leaf: (0.2 * rng.normal(size=leaf.shape)).astype(np.float32), shapes)


def train(mesh):
    """Losses of twenty steps with dropout, and the first one's gradients, as a vector."""
    student, teacher = BertForQuestionAnswering(STUDENT), BertForQuestionAnswering(TEACHER)
    objective, optimizer = Intermediate(), optax.chain(optax.trace(0.0), optax.adam(1e-2))  # a trace of 0 is a gradient
    step = make_train_step(student, teacher, objective, optimizer)
    projection = objective.init_projection(jax.random.key(2), STUDENT, TEACHER)
    losses, gradients = [], np.empty(0)
    with jax.set_mesh(mesh):
        taught = replicate(random_params(teacher, 1), mesh)
        state = create_state(random_params(student, 0), projection, optimizer, mesh)
        placed = shard_batch(batch(), mesh)
        for _ in range(20):
            state, metrics = step(state, taught, placed, jax.random.key(3))
            losses.append(float(metrics["loss"]))
            if len(losses) == 1:
                gradients = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(state.opt_state[0])])
    return np.array(losses), gradients


def compare(devices, one_devices):
    """What differs where the batch is split over so many devices."""
    mesh = Mesh(np.array(jax.devices()[:devices]), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    x = np.arange(1, 4 * 6 * 5 + 1, dtype=np.float32).reshape(4, 6, 5)
    sharded = jax.jit(dropout, static_argnums=1)(shard_batch(x, mesh), 0.3, jax.random.key(0))
    losses, gradients = train(mesh)
    if one_devices is None:
        one_devices = losses, gradients, np.asarray(sharded)
    expected_losses, expected_gradients, dropped = one_devices
    differences = np.abs(losses / expected_losses - 1)
    found = {
        "rows": sharded.shape[0],
        "devices": len(sharded.sharding.device_set),
        "dropout_equal": bool((np.asarray(sharded)[:4] == dropped).all()),
        "first_loss": float(differences[0]),
        "losses": float(differences.max()),
        "gradients": float(np.linalg.norm(gradients - expected_gradients) / np.linalg.norm(expected_gradients)),
    }
    return found, one_devices


def shard_teacher():
    """A step beside a deep teacher that each device has whole, and beside one that is split over them."""
    mesh, student = data_mesh(), BertForQuestionAnswering(STUDENT)
    teacher = BertForQuestionAnswering(replace(TEACHER, hidden_size=32, intermediate_size=128, num_hidden_layers=8))
    params, optimizer, found = random_params(teacher, 1), optax.sgd(0.1), {}
    for place, network in ((replicate, teacher), (split, teacher.clone(platform=Platform(split_over=mesh)))):
        step = make_train_step(student, network, Prediction(), optimizer)
        state = create_state(random_params(student, 0), {}, optimizer, mesh)
        arguments = state, place(params, mesh), shard_batch(batch(), mesh), jax.random.key(3)
        compiled = step.lower(*arguments).compile()
        memory = compiled.memory_analysis()
        found[place.__name__] = {
            "loss": float(compiled(*arguments)[1]["loss"]),
            "arguments": memory.argument_size_in_bytes,
            "temporaries": memory.temp_size_in_bytes,
        }
    return found | {"teacher": sum(leaf.nbytes for leaf in jax.tree.leaves(params))}


def main():
    _, expected = compare(1, None)
    found = {devices: compare(devices, expected)[0] for devices in (3, 8)}
    print(json.dumps(found | {"shard_teacher": shard_teacher()}))


if __name__ == "__main__":
    main()

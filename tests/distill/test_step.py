import json
import os
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tinybert_jax.distill import (
    Finetune,
    Intermediate,
    OptimizerConfig,
    Prediction,
    create_state,
    make_optimizer,
    make_train_step,
)
from tinybert_jax.model import BertForQuestionAnswering, forward
from tinybert_jax.sharding import data_mesh, replicate, shard_batch

KEY = jax.random.key(7)
STEPS = 30


class Stage(NamedTuple):
    """An intermediate stage between models of unlike depth and width, so that projections train too."""

    step: object
    params: dict
    projection: dict
    teacher_params: dict
    optimizer: object

    def start(self):
        return create_state(self.params, self.projection, self.optimizer, data_mesh())


@pytest.fixture(scope="module")
def placed(batch):
    return shard_batch(batch, data_mesh())


@pytest.fixture(scope="module")
def stage(config, params, random_params):
    wider = replace(config, hidden_size=24)
    student_config = replace(config, num_hidden_layers=1)
    student, teacher = BertForQuestionAnswering(student_config), BertForQuestionAnswering(wider)
    objective = Intermediate()
    optimizer = make_optimizer(OptimizerConfig(learning_rate=1e-2, warmup=0.1), STEPS)
    return Stage(
        make_train_step(student, teacher, objective, optimizer),
        random_params(student, seed=3),
        objective.init_projection(jax.random.key(1), student_config, wider),
        replicate(random_params(teacher, seed=4), data_mesh()),
        optimizer,
    )


def take(stage, state, batch, count):
    """`count` steps; the state, and every step's metrics."""
    trail = []
    for _ in range(count):
        state, metrics = stage.step(state, stage.teacher_params, batch, KEY)
        trail.append(metrics)
    return state, trail


def assert_same(left, right):
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(left), jax.device_get(right))


@pytest.fixture(scope="module")
def trained(stage, placed):
    teacher_before = jax.device_get(stage.teacher_params)
    student_before = jax.tree.map(np.copy, stage.params)
    state, trail = take(stage, stage.start(), placed, STEPS)
    return state, trail, teacher_before, student_before


def test_the_loss_falls_on_one_batch(trained):
    losses = [float(metrics["loss"]) for metrics in trained[1]]
    assert losses[-1] < 0.7 * losses[0]


def test_metrics_are_the_losss_terms_and_stay_on_the_device(trained):
    for metrics in trained[1]:
        assert metrics.keys() == {"loss", "hidden", "attention", "grad_norm"}
        assert all(isinstance(value, jax.Array) and value.shape == () for value in metrics.values())
    np.testing.assert_allclose(metrics["loss"], metrics["hidden"] + metrics["attention"], rtol=1e-6)


def test_student_and_projection_train(stage, trained):
    after, before = trained[0].params, {"model": stage.params, "projection": stage.projection}
    changed = jax.tree.map(lambda a, b: bool((np.asarray(a) != b).any()), after, before)
    assert changed.pop("projection") == {"0": {"kernel": True}, "1": {"kernel": True}}
    assert changed["model"].pop("qa_outputs") == {"kernel": False, "bias": False}  # stage 1 does not read it
    assert all(jax.tree.leaves(changed))


def test_teacher_and_callers_parameters_are_left_alone(stage, trained):
    _, _, teacher_before, student_before = trained
    assert_same(stage.teacher_params, teacher_before)
    assert_same(stage.params, student_before)


def test_the_step_is_counted(trained):
    step = trained[0].step
    assert (int(step), step.shape, step.dtype) == (STEPS, (), jnp.int32)


def test_the_state_is_donated_and_nothing_else(stage, placed):
    given = jax.tree.map(jnp.asarray, stage.params)  # a caller that holds device arrays
    state = create_state(given, stage.projection, stage.optimizer, data_mesh())
    stage.step(state, stage.teacher_params, placed, KEY)
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(state.params))
    assert not any(leaf.is_deleted() for leaf in jax.tree.leaves((given, stage.teacher_params, placed)))


def test_two_runs_and_a_resumed_one_are_bit_identical(stage, placed):
    whole, trail = take(stage, stage.start(), placed, 6)
    again, _ = take(stage, stage.start(), placed, 6)
    assert_same(whole, again)
    half, _ = take(stage, stage.start(), placed, 2)
    saved = jax.device_get(half)  # what a checkpoint holds
    resumed, rest = take(stage, replicate(saved, data_mesh()), placed, 4)
    assert_same(whole, resumed)
    assert_same(trail[2:], rest)


def test_dropout_differs_from_step_to_step(stage, placed):
    frozen = make_optimizer(OptimizerConfig(warmup=1.0), 10)  # the first update's rate is 0
    state = create_state(stage.params, stage.projection, frozen, data_mesh())
    kept = jax.device_get(state)
    _, first = stage.step(state, stage.teacher_params, placed, KEY)
    _, other = stage.step(replicate(kept._replace(step=np.int32(1)), data_mesh()), stage.teacher_params, placed, KEY)
    assert first["loss"] != other["loss"]


def test_the_compiled_step_never_calls_the_host(stage, placed):
    lowered = stage.step.lower(stage.start(), stage.teacher_params, placed, KEY)
    assert "callback" not in lowered.as_text()


class Labelled(NamedTuple):
    """A batch with the logits of a teacher that need not run."""

    input_ids: jax.Array
    token_type_ids: jax.Array
    attention_mask: jax.Array
    start: jax.Array
    end: jax.Array
    teacher_logits: jax.Array


def head_stage(config, random_params, objective):
    """A step of the second stage, its first state, and the teacher's parameters."""
    model = BertForQuestionAnswering(replace(config, num_hidden_layers=1))
    optimizer = make_optimizer(OptimizerConfig(learning_rate=1e-2, warmup=0.0), 20)
    state = create_state(random_params(model, 5), {}, optimizer, data_mesh())
    if objective.uses_teacher:
        return make_train_step(model, model, objective, optimizer), state, random_params(model, 6)
    return make_train_step(model, None, objective, optimizer), state, None


def test_the_prediction_stage_trains_the_head(config, random_params, placed):
    step, state, taught = head_stage(config, random_params, Prediction(temperature=2.0, soft_weight=0.5))
    before, losses = jax.device_get(state.params["model"]["qa_outputs"]["kernel"]), []
    for _ in range(20):
        state, metrics = step(state, taught, placed, KEY)
        losses.append(float(metrics["loss"]))
    assert metrics.keys() == {"loss", "soft", "hard", "kl", "grad_norm"}
    assert losses[-1] < losses[0] - 0.4
    assert (np.asarray(state.params["model"]["qa_outputs"]["kernel"]) != before).all()


def test_fine_tuning_needs_no_teacher(config, random_params, placed):
    step, state, taught = head_stage(config, random_params, Finetune())
    after, metrics = jax.eval_shape(step, state, taught, placed, KEY)
    assert metrics.keys() == {"loss", "grad_norm"}
    assert jax.tree.map(jnp.shape, after) == jax.tree.map(jnp.shape, state)


def test_logits_the_batch_brings_are_as_good_as_a_teacher(config, random_params, placed):
    model = BertForQuestionAnswering(replace(config, num_hidden_layers=1))
    taught, optimizer = random_params(model, 6), optax.sgd(0.1)  # Adam would magnify the rounding of tiny gradients
    objective = Prediction(temperature=2.0, soft_weight=0.5)

    def after_a_step(teacher, teacher_params, batch):
        state = create_state(random_params(model, 5), {}, optimizer, data_mesh())
        return jax.device_get(make_train_step(model, teacher, objective, optimizer)(state, teacher_params, batch, KEY))

    logits = forward(model, taught, placed).logits
    ours = after_a_step(None, None, Labelled(*placed[:5], teacher_logits=logits))
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-7), ours, after_a_step(model, taught, placed))


@pytest.mark.parametrize("mode", [{"teacher_dropout": True}, {"head_dropout": 0.5}])
def test_dropout_of_teacher_and_head_follow_the_objective(config, random_params, placed, mode):
    quiet = replace(config, hidden_dropout_prob=0.0, num_hidden_layers=1)
    student = BertForQuestionAnswering(replace(quiet, attention_probs_dropout_prob=0.0))
    teacher = BertForQuestionAnswering(replace(config, num_hidden_layers=1))
    params, taught = random_params(student, 5), random_params(teacher, 6)

    def losses(objective):
        step = make_train_step(student, teacher, objective, optax.sgd(0.0))
        state = create_state(params, {}, optax.sgd(0.0), data_mesh())
        first_state, first = step(state, taught, placed, KEY)
        return float(first["loss"]), float(step(first_state, taught, placed, KEY)[1]["loss"])

    still, again = losses(Prediction())
    assert still == again  # nothing is random, nothing moves
    one, other = losses(Prediction(**mode))
    assert one != other != still != one


# --- the number of devices -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def many_devices():
    script = Path(__file__).with_name("many_devices.py")
    root = script.parents[2]
    environment = os.environ | {
        "JAX_PLATFORMS": "cpu",
        # the partitioning is compared, not LLVM's optimisations: without them it compiles in half of the time
        "XLA_FLAGS": "--xla_force_host_platform_device_count=8 --xla_backend_optimization_level=0",
        "PYTHONPATH": os.pathsep.join([str(root), *filter(None, [os.environ.get("PYTHONPATH")])]),
    }
    done = subprocess.run([sys.executable, script], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize(("devices", "rows"), [("3", 6), ("8", 8)])
def test_a_batch_that_devices_do_not_divide_is_the_same_on_them(many_devices, devices, rows):
    found = many_devices[devices]
    assert (found["devices"], found["rows"]) == (int(devices), rows)
    assert found["dropout_equal"]
    assert found["first_loss"] < 1e-6
    assert found["gradients"] < 1e-6
    assert found["losses"] < 1e-5


def test_a_teacher_split_over_devices_teaches_the_same_and_is_never_whole(many_devices):
    found = many_devices["shard_teacher"]
    whole, split, teacher = found["replicate"], found["split"], found["teacher"]
    assert split["loss"] == whole["loss"]
    assert whole["arguments"] - split["arguments"] > 0.8 * teacher  # of the 7/8 that are elsewhere, less its vectors
    assert split["temporaries"] - whole["temporaries"] < teacher / 4  # a layer is an eighth

"""One training step: forward of teacher and student, loss, gradients, update; jitted, donated, sharded over `data`."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Int, PRNGKeyArray

from tinybert_jax.distill.objective import LossInputs, Metrics, Objective
from tinybert_jax.distill.reach import reached
from tinybert_jax.model.bert import BertForQuestionAnswering, Outputs, Params, forward
from tinybert_jax.model.ops.platform import Platform
from tinybert_jax.sharding import data_mesh, replicate


class TrainState(NamedTuple):
    """All that training changes.

    Attributes:
        step: batches seen, int32.
        params: `{"model": …, "projection": …}`.
        opt_state: the optimiser's.
    """

    step: Int[Array, ""]
    params: dict[str, Any]
    opt_state: optax.OptState


TrainStep = Callable[[TrainState, Params | None, Any, PRNGKeyArray], tuple[TrainState, Metrics]]


def create_state(params: Params, projection: Params, optimizer: optax.GradientTransformation, mesh: Mesh) -> TrainState:
    """The state before a stage's first step.

    Args:
        params: the student's parameters; copied, as the step donates its state and the caller keeps these.
        projection: the objective's own parameters.
        optimizer: as given to `make_train_step`.
        mesh: where to put it.
    """
    trained = replicate({"model": params, "projection": projection}, mesh)
    on_every_device = NamedSharding(mesh, PartitionSpec())
    opt_state = jax.jit(optimizer.init, out_shardings=on_every_device)(trained)  # made in place: it is twice as large
    return TrainState(replicate(np.int32(0), mesh), trained, opt_state)


def _on(platform: Platform, teacher: BertForQuestionAnswering) -> BertForQuestionAnswering:
    """The teacher on a platform; its own says whether its parameters are split."""
    return teacher.clone(platform=replace(platform, split_over=teacher.platform.split_over))


def make_loss(
    student: BertForQuestionAnswering, teacher: BertForQuestionAnswering, objective: Objective
) -> Callable[[dict[str, Any], Params, Any], Metrics]:
    """Builds `terms(params, teacher_params, batch)`: the loss of a batch and its terms, without dropout or update.

    Args:
        student: the network that is measured; `params` are as in `TrainState`.
        teacher: the network it learns from.
        objective: what is compared.
    """
    platform = Platform.of(data_mesh())
    student, teacher = student.clone(platform=platform), _on(platform, teacher)

    def terms(params: dict[str, Any], teacher_params: Params, batch: Any) -> Metrics:
        outputs = forward(student, params["model"], batch, attention=objective.attention)
        taught = forward(teacher, teacher_params, batch, attention=objective.attention)
        loss, metrics = objective.loss(LossInputs(outputs, taught, params["projection"], batch, platform=platform))
        return {"loss": loss, **metrics}

    return jax.jit(terms)


def make_train_step(
    student: BertForQuestionAnswering,
    teacher: BertForQuestionAnswering | None,
    objective: Objective,
    optimizer: optax.GradientTransformation,
    platform: Platform | None = None,
) -> TrainStep:
    """Builds `step(state, teacher_params, batch, key) -> (state, metrics)`.

    The state is donated. The teacher's parameters are an argument: neither closed over, nor differentiated, nor
    updated; the teacher runs in evaluation unless the objective says otherwise. A parameter of the student's that the
    loss does not read, as the span head in stage 1, is not updated at all, weight decay included. Dropout's key is
    `fold_in(key, state.step)`, so that a resumed run draws what an uninterrupted one would. Metrics stay on the device.

    Args:
        student: the network that is trained.
        teacher: the network it learns from, whose platform says whether its parameters are split; None where the
            objective uses none, or reads `batch.teacher_logits`.
        objective: what is compared.
        optimizer: turns gradients into updates.
        platform: what it will run on; the devices of `data_mesh()` when None.
    """
    platform = platform or Platform.of(data_mesh())
    student = student.clone(head_dropout=objective.head_dropout, platform=platform)
    teacher = teacher and _on(platform, teacher)

    def teach(teacher_params: Params | None, batch: Any, key: PRNGKeyArray) -> Outputs | None:
        if not objective.uses_teacher:
            return None
        if teacher is None:
            return Outputs(logits=batch.teacher_logits, hidden_states=())
        assert teacher_params is not None
        dropout_key = jax.random.fold_in(key, 1) if objective.teacher_dropout else None
        return forward(teacher, teacher_params, batch, attention=objective.attention, dropout_key=dropout_key)

    def loss_fn(
        params: Params, taught: Outputs | None, batch: Any, key: PRNGKeyArray, step: Int[Array, ""]
    ) -> tuple[Array, Metrics]:
        outputs = forward(student, params["model"], batch, attention=objective.attention, dropout_key=key)
        return objective.loss(LossInputs(outputs, taught, params["projection"], batch, step, platform))

    def step(
        state: TrainState, teacher_params: Params | None, batch: Any, key: PRNGKeyArray
    ) -> tuple[TrainState, Metrics]:
        key = jax.random.fold_in(key, state.step)
        taught = jax.lax.stop_gradient(teach(teacher_params, batch, key))
        grad_fn = jax.value_and_grad(loss_fn, has_aux=True)
        inputs = state.params, taught, batch, key, state.step
        (loss, terms), grads = grad_fn(*inputs)
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        # Where the loss does not reach, moments stay 0 by themselves, as gradients are; decay would not.
        trained = reached(lambda *inputs: loss_fn(*inputs)[0], *inputs)
        updates = jax.tree.map(lambda update, trains: update if trains else jnp.zeros_like(update), updates, trained)
        params = optax.apply_updates(state.params, updates)
        metrics = {"loss": loss, **terms, "grad_norm": optax.tree.norm(grads)}
        return TrainState(state.step + 1, params, opt_state), metrics  # pyright: ignore[reportArgumentType]

    return jax.jit(step, donate_argnums=0, compiler_options=dict(platform.compiler_options))

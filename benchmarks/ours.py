"""The contestants of this project: `make_train_step` as train.py uses it, under two presets."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from benchmarks.common import DROPOUT, Device, Shape, Stage
from benchmarks.workload import pick_batches, random_windows
from tinybert_jax.data import Batch
from tinybert_jax.distill import (
    OptimizerConfig,
    TrainState,
    create_state,
    make_optimizer,
    make_train_step,
)
from tinybert_jax.errors import UserError
from tinybert_jax.model import BertConfig, BertForQuestionAnswering, freeze, init_params
from tinybert_jax.model.config import Dtype
from tinybert_jax.model.ops.platform import Platform
from tinybert_jax.run.presets import PRESETS, PresetName
from tinybert_jax.run.runtime import run_one_at_a_time
from tinybert_jax.sharding import data_mesh, replicate, shard_batch


def optimizer_of(preset: PresetName) -> Any:
    """What updates the student."""
    return make_optimizer(OptimizerConfig(warmup=0.2, rule=PRESETS[preset].rule), steps=100_000)


def networks(shape: Shape, dtype: Dtype, dropout: float = DROPOUT) -> list[BertForQuestionAnswering]:
    """Teacher and student."""
    layers = (shape.layers_teacher, shape.layers_student)
    return [BertForQuestionAnswering(BertConfig(**shape.bert(n, dropout), dtype=dtype)) for n in layers]


def init(network: BertForQuestionAnswering, dtype: Dtype, key: Any) -> Any:
    """Parameters, matrices in `dtype`; to ask for their shapes."""
    return freeze(init_params(network, key), dtype)


def random_params(network: BertForQuestionAnswering, seed: int, dtype: Dtype) -> Any:
    """As BERT starts, drawn by numpy: a program that draws every leaf would take longer to compile than to run."""
    rng = np.random.default_rng(seed)

    def draw(path: Any, leaf: Any) -> np.ndarray:
        if leaf.ndim == 1:  # LayerNorm's scales, and biases
            return np.full(leaf.shape, path[-1].key == "scale", np.float32)
        return rng.standard_normal(leaf.shape, np.float32) * np.float32(0.02)

    shapes = jax.eval_shape(partial(init_params, network), jax.random.key(0))
    return freeze(jax.tree_util.tree_map_with_path(draw, shapes), dtype)


def example_batch(shape: Shape, stage: Stage) -> Batch:
    """A full batch of random tokens; with a teacher's logits where the step reads them."""
    batch = pick_batches(random_windows(shape, shape.batch), shape.batch, (shape.length,))[shape.length][0]
    return batch if stage == 2 else batch._replace(teacher_logits=None)


def lower_step(
    shape: Shape, stage: Stage, preset: PresetName, dtype: Dtype, mesh: Mesh, batch: Batch, dropout: float | None = None
) -> Any:
    """The step as train.py has it, lowered for a mesh's devices and batches as long as this one.

    From shapes alone: parameters are never allocated, so that they need not fit the machine. Dropout's rate is the
    preset's, or BERT's where that has none, unless it is given.
    """
    if dropout is None:
        own = PRESETS[preset].dropout
        dropout = DROPOUT if own is None else own

    def place(make: Callable[..., Any], *args: Any, axes: tuple[str, ...] = ()) -> Any:
        sharding, shapes = NamedSharding(mesh, PartitionSpec(*axes)), jax.eval_shape(make, *args)
        return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), shapes)

    def start(key: Any) -> TrainState:
        trained = {"model": init(student, "float32", key), "projection": {}}
        return TrainState(jnp.int32(0), trained, optimizer.init(trained))

    (teacher, student), optimizer = networks(shape, dtype, dropout), optimizer_of(preset)
    objective = PRESETS[preset].objectives["intermediate" if stage == 1 else "prediction"]
    key = place(jax.random.key, 0)
    taught = place(partial(init, teacher, dtype), key) if stage == 1 else None
    step: Any = make_train_step(student, teacher if stage == 1 else None, objective, optimizer, Platform.of(mesh))
    return step.lower(place(start, key), taught, place(lambda: batch, axes=("data",)), key)


class Ours:
    """For a `Stopwatch`. Steps are compiled ahead, one for each length: a compiled one tells the memory it plans."""

    def __init__(self, shape: Shape, stage: Stage, preset: PresetName, dtype: Dtype, dropout: float | None = None):
        run_one_at_a_time()  # as train.py does
        self.mesh, self.stage = data_mesh(), stage
        self.key = replicate(jax.random.key(0), self.mesh)
        self.lower = partial(lower_step, shape, stage, preset, dtype, self.mesh, dropout=dropout)
        teacher, student = networks(shape, dtype)
        self.teacher_params = None
        if stage == 1:
            self.teacher_params = replicate(random_params(teacher, 0, dtype), self.mesh)
        self.state = create_state(random_params(student, 1, "float32"), {}, optimizer_of(preset), self.mesh)
        self.compiled: dict[int, Any] = {}
        self.metrics: Any = None
        device = f"jax {jax.__version__}, {jax.devices()[0].device_kind}"
        self.facts: dict[str, Any] = {"device": device, "temp_bytes": 0}

    def prepare(self, batch: Batch) -> Batch:
        return batch if self.stage == 2 else batch._replace(teacher_logits=None)

    def step(self, batch: Batch) -> None:
        length = batch.input_ids.shape[1]
        if length not in self.compiled:
            self.compiled[length] = self.lower(batch).compile()
            planned = self.compiled[length].memory_analysis().temp_size_in_bytes
            self.facts["temp_bytes"] = max(self.facts["temp_bytes"], planned)
        placed = shard_batch(batch, self.mesh)
        self.state, self.metrics = self.compiled[length](self.state, self.teacher_params, placed, self.key)

    def finish(self) -> float:
        jax.block_until_ready(self.state)
        return float(self.metrics["loss"])

    def device_memory(self) -> int | None:
        """The accelerator's peak in bytes; None on a CPU."""
        stats = jax.local_devices()[0].memory_stats()
        return stats["peak_bytes_in_use"] if stats else None


def products(size: int, device: Device) -> dict[str, Callable[[], Any]]:
    """Large square products, by type.

    Raises:
        UserError: a GPU is asked for, and there is none.
    """
    try:
        place, made = jax.devices(device)[0], {}
    except RuntimeError as error:
        raise UserError(f"--device gpu needs a GPU, and jax {jax.__version__} sees none: use --device cpu") from error
    for dtype in ("float32", "bfloat16"):
        x = jax.device_put(jax.random.normal(jax.random.key(0), (size, size)).astype(dtype), place)
        product = jax.jit(lambda a: jnp.dot(a, a, preferred_element_type=jnp.float32).astype(a.dtype))
        made[dtype] = lambda product=product, x=x: product(x).block_until_ready()
    return made

"""The contestants of this project: `make_train_step` as train.py uses it, under two presets."""

import time
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
from common import DROPOUT, Device, Job, Shape

from tinybert_jax.data import Batch
from tinybert_jax.distill import (
    Objective,
    OptimizerConfig,
    create_state,
    make_optimizer,
    make_train_step,
)
from tinybert_jax.model import BertConfig, BertForQuestionAnswering, freeze, init_params
from tinybert_jax.run.presets import PRESETS
from tinybert_jax.run.runtime import run_one_at_a_time
from tinybert_jax.sharding import data_mesh, replicate, shard_batch


def objective_of(preset: str, job: Job, dropout: float) -> Objective:
    """What the preset compares in the job's stage; without dropout, none before the span head either."""
    chosen = PRESETS[preset]
    if job.stage == 1:
        return chosen.objectives["intermediate"]
    prediction = chosen.objectives["prediction"]
    return prediction if dropout else replace(prediction, head_dropout=0.0)


def networks(shape: Shape, dtype: str, dropout: float) -> tuple[BertForQuestionAnswering, BertForQuestionAnswering]:
    """Teacher and student."""
    config = replace(
        BertConfig(),
        vocab_size=shape.vocab,
        hidden_size=shape.hidden,
        num_hidden_layers=shape.layers_teacher,
        num_attention_heads=shape.heads,
        intermediate_size=shape.intermediate,
        max_position_embeddings=max(512, shape.length),
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
        dtype=dtype,
    )
    student = replace(config, num_hidden_layers=shape.layers_student)
    return BertForQuestionAnswering(config), BertForQuestionAnswering(student)


def random_params(network: BertForQuestionAnswering, seed: int, dtype: str) -> Any:
    """Parameters at BERT's initialisation, drawn on the device, matrices in `dtype`."""
    return jax.jit(lambda key: freeze(init_params(network, key), dtype))(jax.random.key(seed))


class Ours:
    """A `common.Runner`. Steps are compiled ahead, one for each length, so that compiling is timed apart."""

    def __init__(self, shape: Shape, job: Job, preset: str, dtype: str, dropout: float = DROPOUT, params: Any = None):
        """Sets up the state.

        Args:
            shape: sizes.
            job: which step.
            preset: a name of PRESETS.
            dtype: what matrix products compute in.
            dropout: the student's.
            params: the teacher's and the student's parameters; None for random ones.
        """
        run_one_at_a_time()  # as train.py does
        teacher, student = networks(shape, dtype, dropout)
        objective = objective_of(preset, job, dropout)
        key = jax.random.key(0)
        theirs, ours = params or (None, None)
        optimizer = make_optimizer(OptimizerConfig(warmup=0.2, rule=PRESETS[preset].rule), steps=100_000)
        self.mesh, self.key = data_mesh(), key
        self.teacher_params = None
        if not job.cached:
            frozen = freeze(theirs, dtype) if theirs else random_params(teacher, 0, dtype)
            self.teacher_params = jax.block_until_ready(replicate(frozen, self.mesh))
            del frozen
        self.state = create_state(ours or random_params(student, 1, "float32"), {}, optimizer, self.mesh)
        self.train_step: Any = make_train_step(student, None if job.cached else teacher, objective, optimizer)
        self.cached = job.cached
        self.compiled: dict[int, Any] = {}
        self.metrics: Any = None
        self.facts: dict[str, Any] = {"compile_seconds": 0.0, "temp_bytes": 0}

    def prepare(self, batch: Batch) -> Batch:
        return batch if self.cached else batch._replace(teacher_logits=None)

    def step(self, batch: Batch) -> None:
        placed = shard_batch(batch, self.mesh)
        length = batch.input_ids.shape[1]
        if length not in self.compiled:
            self.compiled[length] = self._compile(placed)
        self.state, self.metrics = self.compiled[length](self.state, self.teacher_params, placed, self.key)

    def _compile(self, batch: Batch) -> Any:
        begin = time.perf_counter()
        compiled = self.train_step.lower(self.state, self.teacher_params, batch, self.key).compile()
        self.facts["compile_seconds"] += time.perf_counter() - begin
        analysis = compiled.memory_analysis()
        if analysis is not None:
            self.facts["temp_bytes"] = max(self.facts["temp_bytes"], analysis.temp_size_in_bytes)
        return compiled

    def finish(self) -> float:
        jax.block_until_ready(self.state)
        return float(self.metrics["loss"])

    def device_memory(self) -> int | None:
        stats = None if jax.default_backend() == "cpu" else jax.local_devices()[0].memory_stats()
        return stats["peak_bytes_in_use"] if stats else None


def matmul_peak(size: int, device: Device, repeats: int = 5) -> dict[str, float]:
    """FLOP/s of a large square product, the best of a few, by type."""
    place = jax.devices(device)[0]
    peaks = {}
    for dtype in ("float32", "bfloat16"):
        x = jax.random.normal(jax.random.key(0), (size, size)).astype(dtype)
        x = jax.device_put(x, place)
        product = jax.jit(lambda a, b: jnp.dot(a, b, preferred_element_type=jnp.float32).astype(a.dtype))
        seconds = []
        for _ in range(1 + repeats):
            begin = time.perf_counter()
            product(x, x).block_until_ready()
            seconds.append(time.perf_counter() - begin)
        peaks[dtype] = 2 * size**3 / min(seconds[1:])
    return peaks

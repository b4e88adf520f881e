from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest

import tinybert_jax
from tinybert_jax.distill import Intermediate, create_state, make_optimizer, make_train_step
from tinybert_jax.distill.optimizer import OptimizerConfig
from tinybert_jax.model import BertForQuestionAnswering, forward
from tinybert_jax.model.ops.platform import CPU, GPU, PORTABLE, TPU, Platform
from tinybert_jax.sharding import data_mesh


@pytest.mark.usefixtures("unchecked_shapes")  # devices that no machine here has
@pytest.mark.parametrize(
    ("kind", "platform"), [("cpu", CPU), ("gpu", GPU), ("cuda", GPU), ("tpu", TPU), ("a new kind", PORTABLE)]
)
def test_a_mesh_s_devices_decide(kind, platform):
    mesh = SimpleNamespace(devices=np.array([SimpleNamespace(platform=kind)] * 2, dtype=object))
    assert Platform.of(mesh) == platform


def test_here_it_is_the_cpu():
    assert Platform.of(data_mesh()) == CPU


def test_a_platform_is_a_static_value():
    assert len({CPU, GPU, TPU, PORTABLE, Platform()}) == 4


def test_the_package_asks_for_the_default_backend_nowhere():
    """A program may be traced for devices other than the process's own."""
    sources = Path(tinybert_jax.__file__).parent.rglob("*.py")
    assert not [path for path in sources if "default_backend" in path.read_text(encoding="utf-8")]


def test_platforms_differ_by_rounding_alone(config, params, batch):
    def run(platform):
        model = BertForQuestionAnswering(config, platform)
        grad = jax.grad(lambda params: forward(model, params, batch).logits.sum())
        return jax.jit(lambda params: (forward(model, params, batch, attention="scores"), grad(params)))(params)

    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-5), run(GPU), run(CPU))


def traced_step(config, random_params, batch, platform):
    """The jaxpr of a first-stage step in bfloat16."""
    model = BertForQuestionAnswering(replace(config, dtype="bfloat16", hidden_size=32))  # heads of 16: cuDNN's too
    objective, optimizer = Intermediate(), make_optimizer(OptimizerConfig(), 10)
    state = create_state(random_params(model, seed=0), {}, optimizer, data_mesh())
    step = make_train_step(model, model, objective, optimizer, platform)
    return str(step.trace(state, state.params["model"], batch, jax.random.key(0)).jaxpr)


def test_a_step_is_built_for_the_platform_it_is_given(monkeypatch, config, random_params, batch):
    """Teacher, student and the Gram loss, all of them: for a GPU that is not there."""
    attend, fused = jax.nn.dot_product_attention, []

    def by_xla(*arrays, implementation, mask):
        fused.append(implementation)
        return attend(*arrays, implementation="xla", mask=mask)

    monkeypatch.setattr(jax.nn, "dot_product_attention", by_xla)
    traced = partial(traced_step, config, random_params, batch)
    here, gpu = traced(None), traced(GPU)
    assert here == traced(CPU) != gpu
    assert fused == ["cudnn"] * config.num_hidden_layers  # the teacher's layers: the student drops probabilities
    assert gpu.count("reduce_precision") > here.count("reduce_precision")  # the Gram loss's gradients, in two parts
    assert here.count("optimization_barrier") > gpu.count("optimization_barrier") > 0

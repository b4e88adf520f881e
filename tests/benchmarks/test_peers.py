"""The proof that peers compute what we compute: the same weights and batch, without dropout, in float32."""

from functools import partial

import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from benchmarks.common import Shape
from benchmarks.ours import Ours, example_batch, networks, optimizer_of
from tinybert_jax.distill import create_state

torch = pytest.importorskip("torch")
from benchmarks import peers  # noqa: E402  (it needs torch)

SHAPE = Shape(2, 1, hidden=16, heads=2, intermediate=24, batch=3, length=24, vocab=100)
TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def params(random_params):
    """The teacher's and the student's, every leaf large and at random: at BERT's initialisation errors go unseen."""
    return [random_params(network, seed) for seed, network in enumerate(networks(SHAPE, "float32", dropout=0.0))]


def load(peer, params):
    """Gives a peer our parameters."""
    for model, tree in zip((peer.teacher, peer.student), params, strict=True):
        named = {}
        for path, leaf in flatten_dict(tree).items():
            kind = "bias" if path[-1] == "bias" else "weight"
            named[".".join((*path[:-1], kind))] = torch.tensor(np.asarray(leaf).T if path[-1] == "kernel" else leaf)
        model.load_state_dict(named)


def ours_of(preset, params):
    """Our loss terms and gradient norm."""
    ours = Ours(SHAPE, 1, preset, "float32", dropout=0.0)
    ours.teacher_params, student = params
    ours.state = create_state(student, {}, optimizer_of(preset), ours.mesh)
    batch = ours.prepare(example_batch(SHAPE, 1))
    ours.compiled[SHAPE.length] = ours.lower(batch).compile(
        {"xla_backend_optimization_level": 0}
    )  # in half of the time
    ours.step(batch)
    ours.finish()
    return {name: float(value) for name, value in ours.metrics.items()}


@pytest.mark.parametrize("name", ["A", "C"])
def test_losses_and_gradients_are_the_same(name, params):
    preset = {"A": "haystack", "C": "recommended"}[name]
    make = {"A": peers.Haystack, "C": partial(peers.Tuned, half=False)}[name]
    ours, peer = ours_of(preset, params), make(SHAPE, "cpu", dropout=0.0)
    load(peer, params)
    loss = peer.loss(peer.prepare(example_batch(SHAPE, 1)))
    loss.backward()
    norm = torch.nn.utils.get_total_norm([x.grad for x in peer.student.parameters() if x.grad is not None]).item()
    assert abs(ours["loss"] - loss.item()) <= TOLERANCE * ours["loss"]
    assert abs(ours["grad_norm"] - norm) <= TOLERANCE * norm
    assert min(ours["loss"], norm) > 0.1  # something was compared


def test_a_step_updates_the_student_alone():
    peer = peers.Tuned(SHAPE, "cpu", half=True)
    batch = peer.prepare(example_batch(SHAPE, 1))
    before = [{name: x.clone() for name, x in model.named_parameters()} for model in (peer.teacher, peer.student)]
    peer.step(batch)
    assert peer.finish() > 0
    teacher, student = (
        [name for name, x in model.named_parameters() if not torch.equal(x, old[name])]
        for model, old in zip((peer.teacher, peer.student), before, strict=True)
    )
    assert not teacher
    assert "bert.encoder.layer.0.attention.self.query.weight" in student
    assert all(x.dtype == torch.float32 for x in peer.student.parameters())

"""The proof that peers compute what we compute: the same weights and batch, without dropout, in float32."""

from typing import Any, NamedTuple

import jax
import numpy as np
import torch
from common import Job, Shape, Workload
from flax.traverse_util import flatten_dict
from ours import Ours, networks
from peers import Haystack, Peer, Tuned

from tinybert_jax.model import init_params

TOLERANCE = 1e-4


class Compared(NamedTuple):
    """A loss or a gradient norm, theirs and ours.

    Attributes:
        what: system, stage and figure.
        scale: what the difference is measured against.
    """

    what: str
    ours: float
    theirs: float
    scale: float

    @property
    def difference(self) -> float:
        """Relative."""
        return abs(self.ours - self.theirs) / self.scale


def random_params(shape: Shape) -> list[Any]:
    """The teacher's and the student's, every leaf large and at random: at BERT's initialisation errors go unseen."""
    rng = np.random.default_rng(0)
    trees = [
        jax.eval_shape(lambda key, m=m: init_params(m, key), jax.random.key(0)) for m in networks(shape, "float32", 0.0)
    ]
    return [
        jax.tree_util.tree_map_with_path(
            lambda path, leaf: ((path[-1].key == "scale") + 0.2 * rng.normal(size=leaf.shape)).astype(np.float32), tree
        )
        for tree in trees
    ]


def load(peer: Peer, params: list[Any]) -> Peer:
    """Gives a peer our parameters."""
    for model, tree in zip((peer.teacher, peer.student), params, strict=True):
        named = {}
        for path, leaf in flatten_dict(tree).items():
            kind = "bias" if path[-1] == "bias" else "weight"
            named[".".join((*path[:-1], kind))] = torch.tensor(np.asarray(leaf).T if path[-1] == "kernel" else leaf)
        model.load_state_dict(named)
    return peer


def compare(shape: Shape, workload: Workload) -> list[Compared]:
    """Loss and gradient norm of the first step, A beside our "haystack" and C beside our "recommended"."""
    jax.config.update("jax_platforms", "cpu")  # a GPU's float32 products are not accurate enough
    params, compared = random_params(shape), []
    batch = workload.batches[max(workload.batches)][0]
    for job in (Job(1), Job(2), Job(2, cached=True)):
        peers = {
            "A": ("haystack", Haystack(shape, job, "cpu", dropout=0.0)),
            "C": ("recommended", Tuned(shape, job, "cpu", half=False, dropout=0.0)),
        }
        for name, (preset, peer) in peers.items():
            ours = Ours(shape, job, preset, "float32", dropout=0.0, params=params)
            ours.step(ours.prepare(batch))
            ours.finish()
            metrics = {key: float(value) for key, value in ours.metrics.items()}
            loss = load(peer, params).loss(peer.prepare(batch))
            norm = peer.backward(loss).item()
            # haystack's loss is KL; what is left of two cross-entropies is measured against one of them
            term = "kl" if name == "A" and job.stage == 2 else "loss"
            what = f"{name}, {job.title}"
            compared.append(Compared(f"{what}: {term}", metrics[term], loss.item(), metrics["loss"]))
            compared.append(Compared(f"{what}: gradient norm", metrics["grad_norm"], norm, norm))
    return compared

"""A network ready to answer: its parameters are where it runs, and it turns batches into logits."""

import functools
from typing import Any, Protocol, runtime_checkable

import jax
from jax.sharding import Mesh
from jaxtyping import Float

from tinybert_jax.data import Batch
from tinybert_jax.inference.parts import logits_in_parts
from tinybert_jax.model import BertForQuestionAnswering, Model, freeze
from tinybert_jax.model.bert import Params
from tinybert_jax.model.config import BertConfig
from tinybert_jax.model.ops.platform import Platform
from tinybert_jax.sharding import local_mesh, on_each, replicate, shard_batch

_LENGTHS = (*range(32, 256, 32), *range(256, 512, 64))


@runtime_checkable
class Network(Protocol):
    """What `predict_logits`, `evaluate` and `Answerer` run."""

    @property
    def config(self) -> BertConfig:
        """The model's shape."""
        ...

    def lengths(self, longest: int) -> tuple[int, ...]:
        """The batch lengths to pad to, increasing, the last one `longest`: few where each has to be compiled."""
        ...

    def __call__(self, batch: Batch, /) -> Any:
        """Start and end logits, (B, T, 2) float32, filler rows behind them; it may still be being computed."""
        ...


class JaxNetwork:
    """A network on all devices of a mesh: parameters on each, batches split over them."""

    def __init__(self, model: Model, platform: Platform | None = None, mesh: Mesh | None = None) -> None:
        """Copies the parameters to the devices, matrices in what the config computes in.

        Args:
            model: the network and its parameters.
            platform: how to compute; None for what is fastest without a gradient.
            mesh: None for this process's devices. With those of several processes, all of them must ask for the logits
                of the same batches, and each gets them all.
        """
        self.config = model.config
        self._mesh = local_mesh() if mesh is None else mesh
        self._module = model.network.clone(platform=platform or Platform.for_inference(self._mesh))
        self._params = replicate(freeze(model.params, model.config.dtype), self._mesh)

    def lengths(self, longest: int) -> tuple[int, ...]:
        """Closer than those of training: each is compiled once, and kept, while padding is paid for at every batch."""
        return (*(length for length in _LENGTHS if length < longest), longest)

    def __call__(self, batch: Batch) -> Float[jax.Array, "rows T 2"]:
        """Dispatches the forward, and does not wait for it; where devices do not divide B, filler rows follow."""
        logits = _logits(self._module, self._params, shard_batch(batch, self._mesh))
        return logits if logits.is_fully_addressable else jax.device_put(logits, on_each(self._mesh))


@functools.partial(jax.jit, static_argnums=0)
def _logits(model: BertForQuestionAnswering, params: Params, batch: Batch) -> Float[jax.Array, "B T 2"]:
    return logits_in_parts(model, params, batch)

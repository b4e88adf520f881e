"""AdamW as BERT is trained with: linear warm-up and decay, decay on kernels only, one global clip."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import optax

from tinybert_jax.errors import UserError


@dataclass(frozen=True)
class OptimizerConfig:
    """Hyper-parameters of one stage's optimiser.

    Attributes:
        learning_rate: the peak, reached when warm-up ends.
        warmup: fraction of the updates over which the rate rises from 0.
        weight_decay: decoupled decay of the kernels; biases, LayerNorm and embeddings are left alone.
        clip_norm: gradients are scaled down to this global norm.
        accumulate: batches whose gradients are averaged into one update.
    """

    learning_rate: float = 5e-5
    warmup: float = 0.1
    weight_decay: float = 0.01
    clip_norm: float = 1.0
    accumulate: int = 1

    def __post_init__(self) -> None:
        rules = (
            ("learning_rate", self.learning_rate > 0, "above 0"),
            ("warmup", 0 <= self.warmup <= 1, "in [0, 1]"),
            ("weight_decay", self.weight_decay >= 0, "0 or more"),
            ("clip_norm", self.clip_norm > 0, "above 0"),
            ("accumulate", self.accumulate >= 1, "at least 1"),
        )
        for field, holds, rule in rules:
            if not holds:
                raise UserError(f"{field} must be {rule}, got {getattr(self, field)}")


def linear_warmup_decay(peak: float, updates: int, warmup: float) -> Callable[[Any], Any]:
    """Rises from 0 to `peak` over ⌊warmup · updates⌋ updates, then falls linearly to 0 after the last.

    The first update has rate 0 where there is any warm-up, as in BERT's and transformers' schedules.

    Args:
        peak: the highest rate.
        updates: number of updates in all.
        warmup: fraction of them spent rising.
    """
    rising = int(warmup * updates)
    falling = optax.linear_schedule(peak, 0.0, updates - rising)
    if rising == 0:
        return falling
    return optax.join_schedules([optax.linear_schedule(0.0, peak, rising), falling], [rising])


def decay_mask(params: Any) -> Any:
    """A tree of bools, True at kernels."""
    return jax.tree_util.tree_map_with_path(lambda path, _: getattr(path[-1], "key", None) == "kernel", params)


def make_optimizer(config: OptimizerConfig, steps: int) -> optax.GradientTransformation:
    """The optimiser of a stage of `steps` batches: `steps // accumulate` updates.

    Args:
        config: the hyper-parameters.
        steps: batches in the stage.
    """
    updates = max(steps // config.accumulate, 1)
    optimizer = optax.chain(
        optax.clip_by_global_norm(config.clip_norm),
        optax.adamw(
            linear_warmup_decay(config.learning_rate, updates, config.warmup),
            b1=0.9,
            b2=0.999,
            eps=1e-8,
            weight_decay=config.weight_decay,
            mask=decay_mask,
        ),
    )
    if config.accumulate == 1:
        return optimizer
    return optax.MultiSteps(optimizer, config.accumulate).gradient_transformation()

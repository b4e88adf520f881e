"""Adam as BERT is trained with: linear warm-up and decay, decoupled weight decay, clipped gradients."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax

from tinybert_jax.errors import UserError, check, check_choices, check_least, check_numbers

Decay = Literal["all", "matrices", "kernels"]
Schedule = Literal["linear", "cosine", "constant"]


@dataclass(frozen=True)
class UpdateRule:
    """Where implementations of "AdamW with warm-up" differ; the defaults are ours.

    Attributes:
        bias_correction: AdamW's (Loshchilov & Hutter 2019), or without it BERT's own optimiser (Huawei's BertAdam).
        eps: added to the root of the second moment.
        decay: which parameters decay: all (haystack), "matrices", kernels and embedding tables (BERT), or only kernels.
        clip: gradients are clipped by their norm over all parameters, or tensor by tensor (Huawei).
        fractional_warmup: warm-up ends where its share of the updates does, between two of them if need be (Huawei),
            or is cut to whole updates (BERT, haystack).
    """

    bias_correction: bool = True
    eps: float = 1e-8
    decay: Decay = "kernels"
    clip: Literal["global", "tensor"] = "global"
    fractional_warmup: bool = False

    def __post_init__(self) -> None:
        check_choices(self)
        check_numbers(self)
        check("eps", self.eps, self.eps > 0, "above 0")


@dataclass(frozen=True)
class OptimizerConfig:
    """Hyper-parameters of one stage's optimiser.

    Attributes:
        learning_rate: the peak, reached when warm-up ends.
        warmup: fraction of the updates over which the rate rises from 0.
        schedule: the rate after warm-up: "linear" or along half a "cosine", both down to 0, or "constant".
        weight_decay: decoupled weight decay, of the parameters that `rule.decay` names.
        clip_norm: gradients are scaled down to this norm.
        accumulate: batches whose gradients are averaged into one update.
        rule: how updates are computed.
    """

    learning_rate: float = 5e-5
    warmup: float = 0.1
    schedule: Schedule = "linear"
    weight_decay: float = 0.01
    clip_norm: float = 1.0
    accumulate: int = 1
    rule: UpdateRule = UpdateRule()

    def __post_init__(self) -> None:
        check_choices(self)
        check_numbers(self, but=("clip_norm",))  # which may be infinite: nothing is clipped
        check("learning_rate", self.learning_rate, self.learning_rate > 0, "above 0")
        check("warmup", self.warmup, 0 <= self.warmup <= 1, "in [0, 1]")
        check("weight_decay", self.weight_decay, self.weight_decay >= 0, "0 or more")
        check("clip_norm", self.clip_norm, self.clip_norm > 0, "above 0")
        check_least(self, accumulate=1)


def rate_schedule(config: OptimizerConfig, updates: int) -> Callable[[Any], Any]:
    """The learning rate of each update, counted from 0; that of the first is 0 where there is a warm-up.

    Args:
        config: the peak, the share of the warm-up, and what follows it.
        updates: number of updates in all.
    """
    # optax annotates numbers of updates as int, and computes the same with fractions of them.
    rising: Any = config.warmup * updates
    rising = rising if config.rule.fractional_warmup else int(rising)
    peak, rest = config.learning_rate, updates - rising
    if rest == 0:
        return optax.linear_schedule(0.0, peak, rising)
    match config.schedule:
        case "linear":
            after = optax.linear_schedule(peak, 0.0, rest)
        case "cosine":
            after = optax.cosine_decay_schedule(peak, rest)
        case "constant":
            after = optax.constant_schedule(peak)
    return optax.join_schedules([optax.linear_schedule(0.0, peak, rising), after], [rising]) if rising else after


def decay_mask(params: Any, decay: Decay = "kernels") -> Any:
    """A tree of bools, True at what decays."""
    names = {"kernels": ("kernel",), "matrices": ("kernel", "embedding")}
    return jax.tree_util.tree_map_with_path(
        lambda path, _: decay == "all" or getattr(path[-1], "key", None) in names[decay], params
    )


def clip_by_tensor_norm(limit: float) -> optax.GradientTransformation:
    """Scales each tensor of the gradients down to norm `limit`."""

    def clip(updates: optax.Updates, _: optax.Params | None) -> optax.Updates:
        return jax.tree.map(lambda g: g * jnp.minimum(1.0, limit / jnp.maximum(optax.tree.norm(g), 1e-16)), updates)

    return optax.stateless(clip)


def scale_by_bert_adam(b1: float, b2: float, eps: float) -> optax.GradientTransformation:
    """Adam's m / (√v + eps) with neither moment corrected for its start at 0, as BERT was trained."""

    def update(
        updates: optax.Updates, state: optax.OptState, params: optax.Params | None = None
    ) -> tuple[optax.Updates, optax.OptState]:
        assert isinstance(state, optax.ScaleByAdamState)
        mu = optax.tree.update_moment(updates, state.mu, b1, 1)
        nu = optax.tree.update_moment(updates, state.nu, b2, 2)
        scaled = jax.tree.map(lambda m, v: m / (jnp.sqrt(v) + eps), mu, nu)
        return scaled, optax.ScaleByAdamState(state.count + 1, mu, nu)

    return optax.GradientTransformation(optax.scale_by_adam(b1, b2).init, update)


def make_optimizer(config: OptimizerConfig, steps: int) -> optax.GradientTransformation:
    """The optimiser of a stage of `steps` batches: ⌈steps / accumulate⌉ updates, the last of what batches are left.

    Args:
        config: the hyper-parameters.
        steps: batches in the stage.

    Raises:
        UserError: no update would change a parameter.
    """
    updates, rule = -(-steps // config.accumulate), config.rule
    rates = rate_schedule(config, updates)
    if not np.any(jax.vmap(rates)(np.arange(updates)) > 0):  # also where float32 has no rate as small
        raise UserError(
            f"a stage must change its parameters, got rate 0 in each of its {updates} updates: {steps} batches, "
            f"accumulate {config.accumulate}, warmup {config.warmup:g}, learning_rate {config.learning_rate:g}; "
            "lower warmup or accumulate, or train for longer"
        )
    clip = optax.clip_by_global_norm if rule.clip == "global" else clip_by_tensor_norm
    adam = optax.scale_by_adam if rule.bias_correction else scale_by_bert_adam
    optimizer = optax.chain(
        clip(config.clip_norm),
        adam(b1=0.9, b2=0.999, eps=rule.eps),
        optax.add_decayed_weights(config.weight_decay, mask=lambda params: decay_mask(params, rule.decay)),
        optax.scale_by_learning_rate(rates),
    )
    if config.accumulate == 1:
        return optimizer
    last = steps - config.accumulate * (updates - 1)  # what is left for the stage's last update

    def batches_of(update: Any) -> Any:
        return jnp.where(update == updates - 1, last, config.accumulate)

    return optax.MultiSteps(optimizer, batches_of).gradient_transformation()


def skipping_bad(optimizer: optax.GradientTransformation) -> optax.GradientTransformation:
    """The optimiser, which leaves parameters and its own state as they are where the gradients are not finite.

    Such an update does not count: the schedule goes on behind it. Of an optimiser that accumulates, the batches would
    no longer fall into its groups.
    """

    def update(
        updates: optax.Updates, state: optax.OptState, params: optax.Params | None = None
    ) -> tuple[optax.Updates, optax.OptState]:
        sound = jnp.isfinite(optax.tree.norm(updates))  # still the gradients
        updates, after = optimizer.update(updates, state, params)
        kept = jax.tree.map(lambda new, old: jnp.where(sound, new, old), after, state)
        return jax.tree.map(lambda update: jnp.where(sound, update, 0), updates), kept

    return optax.GradientTransformation(optimizer.init, update)

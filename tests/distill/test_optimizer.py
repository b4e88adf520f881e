from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax.traverse_util import flatten_dict

from tinybert_jax.distill import OptimizerConfig, UpdateRule, losses, make_optimizer, rate_schedule
from tinybert_jax.distill.optimizer import clip_by_tensor_norm, decay_mask, skipping_bad
from tinybert_jax.errors import UserError

PLAIN = OptimizerConfig(learning_rate=0.1, warmup=0.0, weight_decay=0.0, clip_norm=1e6)


def run(optimizer, params, gradients):
    """The parameters after each update."""
    state, trail = optimizer.init(params), []
    update = jax.jit(optimizer.update)
    for gradient in gradients:
        updates, state = update(gradient, state, params)
        params = optax.apply_updates(params, updates)
        trail.append(params)
    return trail


# --- the schedule ----------------------------------------------------------------------------------------------------


def test_the_rate_rises_from_zero_to_the_peak_and_falls_to_zero():
    schedule = rate_schedule(OptimizerConfig(learning_rate=2.0, warmup=0.1), updates=100)
    rates = [float(schedule(update)) for update in (0, 5, 10, 55, 99, 100)]
    np.testing.assert_allclose(rates, [0, 1, 2, 1, 2 / 90, 0], rtol=1e-5)


def test_without_warm_up_the_first_rate_is_the_peak():
    schedule = rate_schedule(OptimizerConfig(learning_rate=2.0, warmup=0.0), updates=4)
    np.testing.assert_allclose([schedule(update) for update in range(5)], [2, 1.5, 1, 0.5, 0])


def test_warm_up_alone_only_rises():
    schedule = rate_schedule(OptimizerConfig(learning_rate=2.0, warmup=1.0), updates=4)
    np.testing.assert_allclose([schedule(update) for update in range(4)], [0, 0.5, 1, 1.5])


def test_a_warm_up_may_end_between_two_updates():
    # 2.5 of 10 updates: i / 2.5 below, (10 - i) / 7.5 from there
    config = OptimizerConfig(learning_rate=3.0, warmup=0.25, rule=UpdateRule(fractional_warmup=True))
    found = [rate_schedule(config, updates=10)(update) for update in range(11)]
    np.testing.assert_allclose(found, [0, 1.2, 2.4, 2.8, 2.4, 2, 1.6, 1.2, 0.8, 0.4, 0], rtol=1e-5, atol=1e-6)
    whole = replace(config, rule=UpdateRule())  # two updates
    np.testing.assert_allclose([rate_schedule(whole, 10)(update) for update in range(4)], [0, 1.5, 3, 2.625], rtol=1e-6)


@pytest.mark.parametrize("warmup", [0.0, 0.2])
@pytest.mark.parametrize(
    ("schedule", "expected"),
    [("linear", [4, 3, 2, 1]), ("constant", [4] * 4), ("cosine", [4, 2 + 2**0.5, 2, 2 - 2**0.5])],
)
def test_what_follows_the_warm_up(schedule, expected, warmup):
    config = OptimizerConfig(learning_rate=4.0, warmup=warmup, schedule=schedule)
    rising = [0] if warmup else []
    found = [rate_schedule(config, updates=4 + len(rising))(update) for update in range(4 + len(rising))]
    np.testing.assert_allclose(found, rising + expected, rtol=1e-5)


def test_the_schedule_is_that_of_transformers():
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.3)
    theirs = transformers.get_linear_schedule_with_warmup(optimizer, num_warmup_steps=3, num_training_steps=17)
    ours = rate_schedule(OptimizerConfig(learning_rate=0.3, warmup=0.2), updates=17)
    for update in range(17):
        assert float(ours(update)) == pytest.approx(theirs.get_last_lr()[0], rel=1e-5)
        optimizer.step()
        theirs.step()


def test_the_schedule_counts_updates_not_batches():
    config = OptimizerConfig(learning_rate=1.0, warmup=0.5, weight_decay=0.0, accumulate=3)
    ones = {"kernel": jnp.ones(1)}
    trail = run(make_optimizer(config, steps=12), ones, [ones] * 12)  # four updates, at rates 0, 1/2, 1, 1/2
    values = np.array([params["kernel"][0] for params in trail])
    np.testing.assert_allclose(-np.diff(values, prepend=1), [0, 0, 0, 0, 0, 0.5, 0, 0, 1, 0, 0, 0.5], atol=1e-5)


@pytest.mark.parametrize("steps", [1, 2, 8])
def test_batches_that_fill_no_group_make_the_last_update_of_their_mean(steps):
    config = replace(PLAIN, accumulate=3)
    gradients = [{"kernel": jnp.full(1, float(i + 1))} for i in range(steps)]
    trail = run(make_optimizer(config, steps), {"kernel": jnp.zeros(1)}, gradients)
    groups = [range(first, min(first + 3, steps)) for first in range(0, steps, 3)]
    means = [{"kernel": jnp.full(1, np.mean([i + 1 for i in group]))} for group in groups]
    expected = run(make_optimizer(PLAIN, len(groups)), {"kernel": jnp.zeros(1)}, means)
    got = [trail[group[-1]] for group in groups]
    np.testing.assert_allclose([p["kernel"] for p in got], [p["kernel"] for p in expected], rtol=1e-6)
    assert np.all(np.diff([0.0, *(float(p["kernel"][0]) for p in got)]) < 0)  # every one of them moved


@pytest.mark.parametrize(
    ("change", "steps"),
    [
        ({"warmup": 1.0}, 1),
        ({"warmup": 1.0, "accumulate": 9}, 8),
        ({"learning_rate": 1e-60}, 100),
        ({"learning_rate": 1e-60, "schedule": "constant"}, 100),
        ({"warmup": 0.1, "rule": UpdateRule(fractional_warmup=True)}, 1),  # a tenth of an update, from 0
    ],
)
def test_a_stage_that_would_change_nothing_is_refused(change, steps):
    config = replace(PLAIN, **change)
    with pytest.raises(UserError, match=rf"must change its parameters, got rate 0 in .* {steps} batches, accumulate"):
        make_optimizer(config, steps)
    make_optimizer(replace(PLAIN, learning_rate=1e-30), 1)


# --- decay, clip, accumulation ---------------------------------------------------------------------------------------


def test_kernels_alone_decay(params):
    trained = {"model": params, "projection": {"0": {"kernel": np.ones((2, 2)), "bias": np.ones(2)}}}
    mask = flatten_dict(decay_mask(trained), sep=".")
    assert {name for name, decays in mask.items() if decays} == {name for name in mask if name.endswith(".kernel")}
    assert mask["model.bert.encoder.layer.0.attention.self.query.kernel"]
    assert mask["model.qa_outputs.kernel"]
    assert mask["projection.0.kernel"]
    assert not mask["model.bert.embeddings.word_embeddings.embedding"]
    assert not mask["model.bert.embeddings.LayerNorm.scale"]


def test_matrices_are_kernels_and_embedding_tables(params):
    mask = flatten_dict(decay_mask(params, "matrices"), sep=".")
    expected = {name for name in mask if name.endswith((".kernel", ".embedding"))}
    assert {name for name, decays in mask.items() if decays} == expected
    assert {name for name in mask if not mask[name]} == {name for name in mask if name.endswith((".bias", ".scale"))}


def test_everything_decays_on_demand(params):
    assert all(jax.tree.leaves(decay_mask(params, "all")))


def test_decay_is_decoupled_and_follows_the_rate():
    params = {"kernel": jnp.array([2.0]), "bias": jnp.array([2.0]), "LayerNorm": {"scale": jnp.array([2.0])}}
    (after,) = run(make_optimizer(replace(PLAIN, weight_decay=0.5), 10), params, [jax.tree.map(jnp.zeros_like, params)])
    assert after["kernel"][0] == pytest.approx(2 - 0.1 * 0.5 * 2)
    assert after["bias"][0] == after["LayerNorm"]["scale"][0] == 2


def test_gradients_are_clipped_to_one_global_norm():
    # AdamW's first moment is linear in the clipped gradient: read it from the state
    params = {"a": jnp.zeros(1), "b": jnp.zeros(1)}
    gradients = {"a": jnp.array([3.0]), "b": jnp.array([4.0])}
    for limit, scale in ((1.0, 1 / 5), (5.0, 1), (10.0, 1)):
        optimizer = make_optimizer(replace(PLAIN, clip_norm=limit), 10)
        _, state = optimizer.update(gradients, optimizer.init(params), params)
        (moment,) = [s.mu for s in jax.tree.leaves(state, is_leaf=lambda s: hasattr(s, "mu")) if hasattr(s, "mu")]
        assert moment["a"][0] == pytest.approx(0.1 * 3 * scale, rel=1e-6)
        assert moment["b"][0] == pytest.approx(0.1 * 4 * scale, rel=1e-6)


def test_gradients_are_clipped_tensor_by_tensor():
    clip = clip_by_tensor_norm(2.0)
    gradients = {"large": jnp.array([3.0, 4.0]), "small": jnp.array([0.6, 0.8]), "none": jnp.zeros(2)}
    clipped, _ = clip.update(gradients, clip.init(gradients))
    for name, expected in (("large", [1.2, 1.6]), ("small", [0.6, 0.8]), ("none", [0, 0])):
        np.testing.assert_allclose(clipped[name], expected, rtol=1e-6)


def test_bert_adam_by_hand():
    # g = 1, then 2: m = 0.1, 0.29; v = 0.001, 0.004999
    rule = UpdateRule(bias_correction=False, eps=1e-6)
    params, gradients = {"bias": jnp.zeros(1)}, [{"bias": jnp.array([g])} for g in (1.0, 2.0)]
    first, second = run(make_optimizer(replace(PLAIN, rule=rule), 10), params, gradients)
    np.testing.assert_allclose(first["bias"], -0.1 * 0.1 / 0.001**0.5, rtol=1e-4)
    np.testing.assert_allclose(second["bias"] - first["bias"], -0.09 * 0.29 / 0.004999**0.5, rtol=1e-4)


def test_two_accumulated_batches_are_one_of_double_size():
    rng = np.random.default_rng(0)
    tokens = rng.normal(size=(6, 4, 5, 3)).astype(np.float32)  # six batches of 4 windows of 5 tokens
    start, end = rng.integers(0, 5, (2, 6, 4))
    params = {"kernel": jnp.asarray(rng.normal(size=(3, 2)), jnp.float32)}

    @jax.jit
    def gradient(params, rows):
        x, s, e = (jnp.asarray(column)[rows].reshape(-1, *column.shape[2:]) for column in (tokens, start, end))
        mask = jnp.ones(x.shape[:2], bool)
        return jax.grad(lambda params: losses.span_cross_entropy(x @ params["kernel"], s, e, mask))(params)

    def updated(update, params, state, rows):
        updates, state = update(gradient(params, np.array(rows)), state, params)
        return optax.apply_updates(params, updates), state

    config = OptimizerConfig(learning_rate=0.1, warmup=0.0, clip_norm=0.1)
    small, large = make_optimizer(replace(config, accumulate=2), 6), make_optimizer(config, 3)
    update_small, update_large = jax.jit(small.update), jax.jit(large.update)
    ours, theirs = (params, small.init(params)), (params, large.init(params))
    for step in (0, 2, 4):
        for row in (step, step + 1):
            ours = updated(update_small, *ours, [row])
        theirs = updated(update_large, *theirs, [step, step + 1])
        np.testing.assert_allclose(ours[0]["kernel"], theirs[0]["kernel"], rtol=1e-5)


def test_updates_agree_with_torch():
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    params = {"kernel": rng.normal(size=(4, 3)), "bias": rng.normal(size=3)}
    gradients = [{"kernel": rng.normal(size=(4, 3)), "bias": rng.normal(size=3)} for _ in range(8)]
    params, gradients = jax.tree.map(lambda x: x.astype(np.float32), (params, gradients))
    config = OptimizerConfig(learning_rate=1e-2, warmup=0.25, weight_decay=0.1, clip_norm=2.0)
    trail = run(make_optimizer(config, 8), params, gradients)

    theirs = {name: torch.nn.Parameter(torch.tensor(value)) for name, value in params.items()}
    optimizer = torch.optim.AdamW(
        [
            {"params": [theirs["kernel"]], "weight_decay": 0.1},
            {"params": [theirs["bias"]], "weight_decay": 0.0},
        ],
        lr=1e-2,
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: step / 2 if step < 2 else (8 - step) / 6)
    for gradient, ours in zip(gradients, trail, strict=True):
        for name, value in gradient.items():
            theirs[name].grad = torch.tensor(value)
        torch.nn.utils.clip_grad_norm_(theirs.values(), 2.0)
        optimizer.step()
        schedule.step()
        for name, value in theirs.items():
            np.testing.assert_allclose(ours[name], value.detach(), rtol=0, atol=2e-6)


# --- settings --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "value", "rule"),
    [
        ("learning_rate", 0.0, "above 0"),
        ("warmup", 1.5, r"in \[0, 1\]"),
        ("warmup", -0.1, r"in \[0, 1\]"),
        ("weight_decay", -0.01, "0 or more"),
        ("clip_norm", 0.0, "above 0"),
        ("accumulate", 0, "at least 1"),
    ],
)
def test_a_setting_out_of_range_is_named(field, value, rule):
    with pytest.raises(UserError, match=f"{field} must be {rule}, got {value}"):
        OptimizerConfig(**{field: value})


def test_eps_is_above_zero():
    with pytest.raises(UserError, match="eps must be above 0, got 0"):
        UpdateRule(eps=0.0)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_an_update_that_is_not_finite_is_left_out_and_does_not_count(bad):
    params = {"kernel": jnp.array([1.0, 2.0])}
    optimizer = make_optimizer(OptimizerConfig(learning_rate=0.1), 10)
    skipping = skipping_bad(optimizer)
    grads = [jnp.array([0.5, -1.0]), jnp.array([bad, 1.0]), jnp.array([1.0, 1.0])]
    state, expected = skipping.init(params), optimizer.init(params)
    for grad in grads:
        updates, state = jax.jit(skipping.update)({"kernel": grad}, state, params)
        if np.isfinite(grad).all():
            sound, expected = optimizer.update({"kernel": grad}, expected, params)
            np.testing.assert_allclose(updates["kernel"], sound["kernel"], rtol=1e-6)
        else:
            assert not updates["kernel"].any()
    jax.tree.map(lambda got, want: np.testing.assert_allclose(got, want, rtol=1e-6), state, expected)

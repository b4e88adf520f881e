import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tinybert_jax.model.ops.activations import ACTIVATIONS, gelu

POINTS = np.linspace(-6, 6, 241, dtype=np.float32)


def exact(x):
    return x * 0.5 * (1 + math.erf(x / math.sqrt(2)))


def test_gelu_is_x_times_the_normal_distribution():
    np.testing.assert_allclose(gelu(jnp.asarray(POINTS)), [exact(float(x)) for x in POINTS], atol=5e-7)


def test_its_slope_is_what_differentiation_gives():
    slope = jax.vmap(jax.grad(gelu))(POINTS)
    np.testing.assert_allclose(
        slope, jax.vmap(jax.grad(lambda x: jax.nn.gelu(x, approximate=False)))(POINTS), atol=1e-6
    )


def test_in_float64_it_is_exact():
    with jax.enable_x64(True):
        points = jnp.asarray(POINTS, jnp.float64)
        np.testing.assert_allclose(gelu(points), [exact(x) for x in points.tolist()], atol=1e-15)
        slope = jax.vmap(jax.grad(gelu))(points)
        np.testing.assert_allclose(slope, (gelu(points + 1e-5) - gelu(points - 1e-5)) / 2e-5, atol=1e-9)


def test_bfloat16_is_rounded_at_the_end_alone():
    x = jnp.asarray(POINTS, jnp.bfloat16)
    value, pull_back = jax.vjp(gelu, x)
    np.testing.assert_array_equal(value, gelu(x.astype(jnp.float32)).astype(jnp.bfloat16))
    assert pull_back(value)[0].dtype == jnp.bfloat16


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_each_is_what_transformers_calls_so(name):
    torch, activations = pytest.importorskip("torch"), pytest.importorskip("transformers.activations")
    x = torch.tensor(POINTS, requires_grad=True)
    theirs = activations.ACT2FN[name](x)
    (slope,) = torch.autograd.grad(theirs.sum(), x)
    np.testing.assert_allclose(ACTIVATIONS[name](jnp.asarray(POINTS)), theirs.detach(), rtol=0, atol=1e-6)
    ours = jax.vmap(jax.grad(ACTIVATIONS[name]))(POINTS)
    np.testing.assert_allclose(ours, slope, rtol=0, atol=5e-6)


@pytest.mark.parametrize(("name", "expected"), [("gelu_new", 0.841192), ("relu", 1.0)])
def test_the_others_by_name(name, expected):
    assert ACTIVATIONS[name](jnp.float32(1)) == pytest.approx(expected, abs=1e-6)

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tinybert_jax.distill import losses, resolve_layer_map
from tinybert_jax.distill.mapping import Projection, group_heads, group_probabilities
from tinybert_jax.errors import UserError
from tinybert_jax.model import BertConfig


def bert(layers, width):
    return BertConfig(hidden_size=width, num_hidden_layers=layers, num_attention_heads=2, intermediate_size=8)


# --- layers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layer_map", "student", "teacher", "expected"),
    [
        ("uniform", 6, 12, (2, 4, 6, 8, 10, 12)),
        ("uniform", 4, 12, (3, 6, 9, 12)),
        ("uniform", 3, 3, (1, 2, 3)),
        ("uniform", 1, 5, (5,)),
        ("last", 6, 12, (7, 8, 9, 10, 11, 12)),
        ("last", 5, 7, (3, 4, 5, 6, 7)),
        ("last", 3, 3, (1, 2, 3)),
        ((4, 4, 1), 3, 4, (4, 4, 1)),
    ],
)
def test_layer_maps(layer_map, student, teacher, expected):
    assert resolve_layer_map(layer_map, student, teacher) == expected


@pytest.mark.parametrize(("student", "teacher"), [(5, 12), (4, 2)])
def test_layers_that_do_not_divide_have_no_uniform_map(student, teacher):
    with pytest.raises(UserError, match=f"{student} layers do not divide the teacher's {teacher}: .*hidden-map"):
        resolve_layer_map("uniform", student, teacher)


def test_a_teacher_with_fewer_layers_has_no_last_map():
    with pytest.raises(UserError, match="the student has 4 layers, its teacher only 2"):
        resolve_layer_map("last", 4, 2)


@pytest.mark.parametrize("layer_map", [(1,), (1, 2, 3), (0, 4), (1, 5), ()])
def test_a_map_that_does_not_fit_is_refused(layer_map):
    with pytest.raises(UserError, match="one teacher layer from 1 to 4 for each of the student's 2 layers, got") as e:
        resolve_layer_map(layer_map, 2, 4)
    assert str(layer_map) in str(e.value)


# --- heads -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("heads", [1, 2, 4])
def test_scores_of_grouped_heads_are_means_over_the_groups(heads):
    queries, keys = np.random.default_rng(0).normal(size=(2, 3, 5, 4, 6)).astype(np.float32)
    grouped = losses.attention_scores(*group_heads(jnp.asarray(queries), jnp.asarray(keys), heads))
    scores = losses.attention_scores(queries, keys)
    expected = np.stack([np.mean(group, axis=1) for group in np.split(np.asarray(scores), heads, axis=1)], axis=1)
    np.testing.assert_allclose(grouped, expected, atol=1e-6)
    np.testing.assert_allclose(group_probabilities(scores, heads), expected, atol=1e-6)


# --- hidden states ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "names"),
    [("none", []), ("shared", ["0"]), ("embeddings-layers", ["0", "1"]), ("per-state", ["0", "1", "2", "3"])],
)
def test_which_projections_there_are(kind, names):
    params = Projection(kind, bias=True).init(jax.random.key(0), bert(3, 4), bert(3, 6), range(4))
    assert list(params) == names
    assert all(layer["kernel"].shape == (4, 6) and not layer["bias"].any() for layer in params.values())
    kernels = [np.asarray(layer["kernel"]) for layer in params.values()]
    assert all((one != other).all() for i, one in enumerate(kernels) for other in kernels[:i])


def test_what_is_not_compared_has_no_projection():
    params = Projection("per-state").init(jax.random.key(0), bert(2, 4), bert(2, 6), range(1, 3))
    assert [(name, list(layer)) for name, layer in params.items()] == [("1", ["kernel"]), ("2", ["kernel"])]


def test_equal_widths_are_projected_only_on_demand():
    key, small = jax.random.key(0), bert(2, 4)
    assert Projection("shared").init(key, small, small, range(3)) == {}
    assert Projection("shared", always=True).init(key, small, small, range(3))["0"]["kernel"].shape == (4, 4)


def test_kernels_keep_the_variance_of_what_they_project():
    kernel = Projection("shared").init(jax.random.key(0), bert(2, 64), bert(2, 32), [0])["0"]["kernel"]
    assert abs(np.std(kernel) - 64**-0.5) < 5 * 64**-0.5 / (2 * kernel.size) ** 0.5


@pytest.mark.parametrize("kind", ["shared", "embeddings-layers", "per-state"])
def test_projection_by_hand(kind):
    projection = Projection(kind, bias=True)
    params = projection.init(jax.random.key(0), bert(2, 2), bert(2, 4), range(3))
    used = {"shared": "000", "embeddings-layers": "011", "per-state": "012"}[kind]
    kernel, bias = np.array([[1.0, 0.0, 1.0, 0.0], [1.0, 1.0, 0.0, 0.0]]), np.array([0.0, 0.0, 5.0, 7.0])
    for state, name in enumerate(used):
        chosen = {**params, name: {"kernel": kernel, "bias": bias}}
        np.testing.assert_array_equal(
            projection.apply(chosen, state, jnp.array([[[1.0, 2.0]]])), [[[3.0, 2.0, 6.0, 7.0]]]
        )


def test_without_parameters_hidden_states_stay_what_they_are():
    hidden = jnp.ones((1, 2, 3))
    assert Projection().apply({}, 1, hidden) is hidden


def test_unlike_widths_need_a_projection():
    with pytest.raises(UserError, match=r'of 4 and 6 units .* got projection\.kind = "none"'):
        Projection("none").check(bert(2, 4), bert(2, 6))
    Projection("none").check(bert(2, 4), bert(2, 4))
    Projection("shared").check(bert(2, 4), bert(2, 6))

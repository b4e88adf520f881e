"""How a student's parts correspond to its teacher's: layers, heads, and the spaces of hidden states."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, PRNGKeyArray

from tinybert_jax.errors import UserError, check_choices
from tinybert_jax.model import BertConfig
from tinybert_jax.model.bert import Params

LayerMap = Literal["uniform", "last"] | tuple[int, ...]


def resolve_layer_map(layer_map: LayerMap, student_layers: int, teacher_layers: int) -> tuple[int, ...]:
    """The teacher's layer for each student layer, both from 1.

    Args:
        layer_map: "uniform", g(m) = m · L_t / L_s (TinyBERT, section 4.1); "last", g(m) = L_t − L_s + m; or the
            teacher's layers themselves.
        student_layers: L_s.
        teacher_layers: L_t.

    Raises:
        UserError: the layers cannot be mapped that way.
    """
    if layer_map == "uniform":
        if teacher_layers % student_layers:
            raise UserError(
                f"the student's {student_layers} layers do not divide the teacher's {teacher_layers}: give the maps "
                "yourself, one teacher layer (from 1) for each student layer, as --stages.0.objective.hidden-map "
                "and --stages.0.objective.attention-map"
            )
        ratio = teacher_layers // student_layers
        return tuple(range(ratio, teacher_layers + 1, ratio))
    if layer_map == "last":
        if teacher_layers < student_layers:
            raise UserError(f"the student has {student_layers} layers, its teacher only {teacher_layers}")
        return tuple(range(teacher_layers - student_layers + 1, teacher_layers + 1))
    if len(layer_map) != student_layers or not all(1 <= layer <= teacher_layers for layer in layer_map):
        raise UserError(
            f"a layer map must name one teacher layer from 1 to {teacher_layers} for each of the student's "
            f"{student_layers} layers, got {layer_map}"
        )
    return layer_map


def group_heads(
    queries: Float[Array, "B T N H"], keys: Float[Array, "B T N H"], heads: int
) -> tuple[Float[Array, "B T {heads} G"], Float[Array, "B T {heads} G"]]:
    """Queries and keys of `heads` wider heads, whose scores are the means over groups of consecutive heads.

    Args:
        queries: of every head.
        keys: of every head.
        heads: M, divides N.

    Returns:
        Queries and keys of G = N / M · H units.
    """
    *rows, count, width = queries.shape
    groups = count // heads
    shape = (*rows, heads, groups * width)
    return queries.reshape(shape) * groups**-0.5, keys.reshape(shape)


def group_probabilities(probabilities: Float[Array, "B N T S"], heads: int) -> Float[Array, "B {heads} T S"]:
    """Means over groups of consecutive heads."""
    batch, _, *pair = probabilities.shape
    return probabilities.reshape(batch, heads, -1, *pair).mean(2)


@dataclass(frozen=True)
class Projection:
    """The linear maps W that take the student's hidden states to the teacher's width; trained, always.

    Attributes:
        kind: none; one matrix for all states; one for the embeddings' output and one for all layers (the paper's
            W_e and W_h); or one a state.
        bias: whether they are affine.
        always: have them between equal widths too, as Huawei's code does.
    """

    kind: Literal["none", "shared", "embeddings-layers", "per-state"] = "per-state"
    bias: bool = False
    always: bool = False

    def __post_init__(self) -> None:
        check_choices(self)

    def check(self, student: BertConfig, teacher: BertConfig) -> None:
        """Raises a UserError where widths differ and nothing bridges them."""
        if self.kind == "none" and student.hidden_size != teacher.hidden_size:
            raise UserError(
                f"hidden states of {student.hidden_size} and {teacher.hidden_size} units can be compared through a "
                'projection only, got projection.kind = "none": use "shared", "embeddings-layers" or "per-state"'
            )

    def init(
        self, key: PRNGKeyArray, student: BertConfig, teacher: BertConfig, states: Sequence[int]
    ) -> dict[str, Any]:
        """Parameters `{name: {"kernel": (D_s, D_t), "bias": (D_t,)}}`, empty where none are needed.

        Args:
            key: draws the kernels, normal with variance 1 / D_s.
            student: of width D_s.
            teacher: of width D_t.
            states: the hidden states that are compared, 0 for the embeddings' output.
        """
        if self.kind == "none" or (student.hidden_size == teacher.hidden_size and not self.always):
            return {}
        shape = (student.hidden_size, teacher.hidden_size)
        params: dict[str, Any] = {}
        for index in sorted({self._index(state) for state in states}):
            kernel = jax.random.normal(jax.random.fold_in(key, index), shape) * student.hidden_size**-0.5
            params[str(index)] = {"kernel": kernel}
            if self.bias:
                params[str(index)]["bias"] = jnp.zeros(teacher.hidden_size)
        return params

    def apply(self, params: Params, state: int, hidden: Float[Array, "B T D_s"]) -> Float[Array, "B T D_t"]:
        """Projects hidden state number `state` to the teacher's width; as it is where there are no parameters."""
        if not params:
            return hidden
        layer = params[str(self._index(state))]
        projected = hidden.astype(jnp.float32) @ layer["kernel"]
        return projected + layer["bias"] if self.bias else projected

    def _index(self, state: int) -> int:
        return {"shared": 0, "embeddings-layers": min(state, 1)}.get(self.kind, state)

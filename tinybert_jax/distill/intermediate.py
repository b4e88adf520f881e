"""Stage 1: what of the teacher's layers the student's imitate."""

import warnings
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Literal

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, PRNGKeyArray

from tinybert_jax.arrays import AnyArray
from tinybert_jax.distill import losses
from tinybert_jax.distill.gram import score_mse_gram
from tinybert_jax.distill.mapping import LayerMap, Projection, group_heads, group_probabilities, resolve_layer_map
from tinybert_jax.distill.objective import LossInputs, Metrics, Objective
from tinybert_jax.errors import UserError, check, check_choices, check_numbers
from tinybert_jax.model import BertConfig, Outputs
from tinybert_jax.model.bert import AttentionOutput, Params
from tinybert_jax.model.ops.platform import Platform


class AttentionDroppedWarning(UserWarning):
    """Heads cannot be compared: stage 1 trains only on hidden states."""


@dataclass(frozen=True)
class Intermediate(Objective):
    """Stage 1: attention and hidden states of mapped layers, and the embeddings' output (equations 7 to 9).

    Attributes:
        compare: pre-softmax attention scores (the paper, Huawei); these less each query's mean over real keys, which
            softmax does not see ("centred-scores"); or attention probabilities, the student's after its dropout
            (haystack).
        padding: means over real tokens and pairs of them, or plain means in which padding counts (haystack, Huawei).
        hidden_map: which teacher layer each student layer learns hidden states from: "uniform", every second, third, …
            one; "last", the topmost ones; or these themselves, counted from 1.
        attention_map: the same for attention.
        heads: what to do about unlike numbers of heads: refuse them ("equal"), compare means over groups of
            consecutive heads of the model that has more, or drop the attention term.
        embeddings: compare the embeddings' output too.
        projection: takes the student's hidden states to the teacher's width.
        hidden_weight: weight of the hidden states' sum.
        attention_weight: weight of the attention's sum; at 0 hidden states alone are compared, and the forwards
            return nothing of the attention.
        teacher_dropout: the teacher runs in training mode (Huawei).
    """

    tag: ClassVar[str] = "intermediate"
    trains_answers: ClassVar[bool] = False

    compare: Literal["scores", "centred-scores", "probabilities"] = "scores"
    padding: losses.Padding = "masked"
    hidden_map: LayerMap = "uniform"
    attention_map: LayerMap = "uniform"
    heads: Literal["equal", "groups", "drop"] = "equal"
    embeddings: bool = True
    projection: Projection = Projection()
    hidden_weight: float = 1.0
    attention_weight: float = 1.0
    teacher_dropout: bool = False

    def __post_init__(self) -> None:
        check_choices(self)
        check_numbers(self)
        for name in ("hidden_weight", "attention_weight"):
            check(name, getattr(self, name), getattr(self, name) >= 0, "0 or more")
        weights = self.hidden_weight + self.attention_weight
        check("hidden_weight + attention_weight", weights, weights > 0, "above 0, or nothing is compared")

    @property
    def attention(self) -> AttentionOutput:
        """What the forwards must return of the attention."""
        if not self.attention_weight:
            return "none"
        return "probabilities" if self.compare == "probabilities" else "scores"

    def check(self, student: BertConfig, teacher: BertConfig) -> None:
        """Layers must map, heads must match, widths must be bridged."""
        for layer_map in (self.hidden_map, self.attention_map):
            resolve_layer_map(layer_map, student.num_hidden_layers, teacher.num_hidden_layers)
        self.projection.check(student, teacher)
        fewer, more = sorted((student.num_attention_heads, teacher.num_attention_heads))
        counts = f"{student.num_attention_heads} and {teacher.num_attention_heads}"
        if fewer == more or not self.attention_weight:
            return
        if self.heads == "equal":
            raise UserError(
                "attention is compared head by head: student and teacher must have as many heads, got "
                f"{counts}; --stages.0.objective.heads groups compares means over heads, drop leaves attention out"
            )
        if self.heads == "groups" and more % fewer:
            raise UserError(f"heads can be compared by groups where one number divides the other, got {counts}")
        if self.heads == "drop":
            if not self.hidden_weight:
                raise UserError(f"nothing is compared: heads are dropped, {counts}, and hidden_weight is 0")
            message = f"student and teacher have {counts} heads: the attention term is left out"
            warnings.warn(message, AttentionDroppedWarning, stacklevel=2)

    def describe(self, student: BertConfig, teacher: BertConfig) -> str:
        """The map of hidden states: "1 ← 2, 2 ← 4"."""
        mapped = resolve_layer_map(self.hidden_map, student.num_hidden_layers, teacher.num_hidden_layers)
        return ", ".join(f"{m} ← {g}" for m, g in enumerate(mapped, start=1))

    def init_projection(self, key: PRNGKeyArray, student: BertConfig, teacher: BertConfig) -> dict[str, Any]:
        """The projection's parameters, for the states that are compared."""
        states = range(0 if self.embeddings else 1, student.num_hidden_layers + 1)
        return self.projection.init(key, student, teacher, states)

    def loss(self, inputs: LossInputs) -> tuple[Float[Array, ""], Metrics]:
        """Weighted sum, over mapped layers, of the hidden states' and the attention's mean squared errors."""
        student, teacher, mask = inputs.student, inputs.teacher, inputs.batch.attention_mask
        assert teacher is not None
        hidden = self._hidden_loss(student, teacher, inputs.params, mask)
        attention = self._attention_loss(student, teacher, mask, inputs.platform)
        # A term of weight 0 is left out, not multiplied by 0: parameters that only it reads must not count as trained.
        weighted = (self.hidden_weight, hidden), (self.attention_weight, attention)
        total = sum((weight * term for weight, term in weighted if weight), start=jnp.zeros(()))
        return total, {"hidden": hidden, "attention": attention}

    def _hidden_loss(self, student: Outputs, teacher: Outputs, projection: Params, mask: AnyArray) -> Array:
        positions = losses.positions_of(mask, self.padding)
        states = list(enumerate((0, *resolve_layer_map(self.hidden_map, *_layer_counts(student, teacher)))))
        terms = []
        for m, g in states[0 if self.embeddings else 1 :]:
            projected = self.projection.apply(projection, m, student.hidden_states[m])
            terms.append(losses.hidden_mse(projected, teacher.hidden_states[g], positions))
        return jnp.stack(terms).sum()

    def _attention_loss(self, student: Outputs, teacher: Outputs, mask: AnyArray, platform: Platform) -> Array:
        heads = _head_count(student), _head_count(teacher)
        if not self.attention_weight or (self.heads == "drop" and heads[0] != heads[1]):
            return jnp.zeros(())
        if self.compare == "centred-scores":
            student, teacher = (_with_centred_keys(outputs, mask) for outputs in (student, teacher))
        by_probabilities = self.compare == "probabilities"
        compare = _compare_probabilities if by_probabilities else partial(_compare_scores, platform=platform)
        positions = losses.positions_of(mask, self.padding)
        layers = enumerate(resolve_layer_map(self.attention_map, *_layer_counts(student, teacher)))
        terms = [compare(student, m, teacher, g - 1, min(heads), mask, positions) for m, g in layers]
        return jnp.stack(terms).sum()


def _layer_counts(student: Outputs, teacher: Outputs) -> tuple[int, int]:
    return len(student.hidden_states) - 1, len(teacher.hidden_states) - 1


def _head_count(outputs: Outputs) -> int:
    if outputs.probabilities is not None:
        return outputs.probabilities[0].shape[1]
    return 0 if outputs.queries is None else outputs.queries[0].shape[2]


def _with_centred_keys(outputs: Outputs, mask: AnyArray) -> Outputs:
    assert outputs.keys is not None
    return outputs._replace(keys=tuple(losses.centred(keys, mask) for keys in outputs.keys))


def _compare_scores(
    student: Outputs,
    m: int,
    teacher: Outputs,
    g: int,
    heads: int,
    mask: AnyArray,
    positions: AnyArray,
    platform: Platform,
) -> Array:
    assert student.queries is not None and student.keys is not None
    assert teacher.queries is not None and teacher.keys is not None
    ours = group_heads(student.queries[m], student.keys[m], heads)
    theirs = group_heads(teacher.queries[g], teacher.keys[g], heads)
    return score_mse_gram(*ours, *theirs, mask, positions, platform)


def _compare_probabilities(
    student: Outputs, m: int, teacher: Outputs, g: int, heads: int, mask: AnyArray, positions: AnyArray
) -> Array:
    assert student.probabilities is not None and teacher.probabilities is not None
    ours = group_probabilities(student.probabilities[m], heads)
    theirs = group_probabilities(teacher.probabilities[g], heads)
    return losses.attention_mse(ours, theirs, mask, positions)

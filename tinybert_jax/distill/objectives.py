"""What a stage of training compares: each objective is a frozen value with a pure `loss`."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import jax
import jax.numpy as jnp
from jax import Array

from tinybert_jax.distill import losses
from tinybert_jax.errors import UserError
from tinybert_jax.model import BertConfig, Outputs
from tinybert_jax.model.bert import AttentionOutput, Params

Metrics = dict[str, Array]


class LabelledBatch(Protocol):
    """What a loss reads of a batch; `data.Batch` is one."""

    @property
    def attention_mask(self) -> Any: ...  # (B, T) bool
    @property
    def start(self) -> Any: ...  # (B,) int
    @property
    def end(self) -> Any: ...  # (B,) int


class Objective(ABC):
    """What the training step needs to know of a stage; subclasses are frozen values."""

    @property
    def attention(self) -> AttentionOutput:
        """What the forwards must return of the attention."""
        return "none"

    @property
    def uses_teacher(self) -> bool:
        """Whether `loss` reads the teacher's outputs."""
        return True

    def check(self, student: BertConfig, teacher: BertConfig) -> None:  # noqa: B027  (most take any two models)
        """Raises a UserError where the two models cannot be compared this way."""

    def init_projection(self, key: Array, student: BertConfig, teacher: BertConfig) -> dict[str, Array]:
        """Parameters of the objective's own, trained beside the student's; empty where none are needed."""
        return {}

    @abstractmethod
    def loss(
        self, student: Outputs, teacher: Outputs | None, projection: Params, batch: LabelledBatch
    ) -> tuple[Array, Metrics]:
        """The loss of a batch, and its terms by name."""


def uniform_layer_map(student_layers: int, teacher_layers: int) -> tuple[int, ...]:
    """The teacher's layer for each student layer, both from 1: g(m) = m · L_t / L_s (section 3.1).

    Raises:
        UserError: the student's layers do not divide the teacher's.
    """
    if teacher_layers % student_layers:
        raise UserError(
            f"the student's {student_layers} layers do not divide the teacher's {teacher_layers}: give the map "
            "yourself, one teacher layer (from 1) for each student layer, as --stages.0.objective.layer-map"
        )
    ratio = teacher_layers // student_layers
    return tuple(range(ratio, teacher_layers + 1, ratio))


@dataclass(frozen=True)
class Finetune(Objective):
    """Hard labels alone: what trains a teacher, and the student that distillation is compared to."""

    @property
    def uses_teacher(self) -> bool:
        """It does not."""
        return False

    def loss(
        self, student: Outputs, teacher: Outputs | None, projection: Params, batch: LabelledBatch
    ) -> tuple[Array, Metrics]:
        """Cross-entropy of the labelled spans."""
        return losses.span_cross_entropy(student.logits, batch.start, batch.end, batch.attention_mask), {}


@dataclass(frozen=True)
class Intermediate(Objective):
    """Stage 1: attention and hidden states of mapped layers, and the embeddings' output (equations 7 to 9).

    Attributes:
        compare: pre-softmax attention scores, as the paper does, or attention probabilities.
        layer_map: the teacher's layer (from 1) for each student layer; None spreads them evenly.
    """

    compare: Literal["scores", "probabilities"] = "scores"
    layer_map: tuple[int, ...] | None = None

    @property
    def attention(self) -> AttentionOutput:
        """What the forwards must return of the attention."""
        return self.compare

    def resolve_layer_map(self, student_layers: int, teacher_layers: int) -> tuple[int, ...]:
        """The explicit map, checked, or the uniform one."""
        if self.layer_map is None:
            return uniform_layer_map(student_layers, teacher_layers)
        fits = len(self.layer_map) == student_layers and all(1 <= m <= teacher_layers for m in self.layer_map)
        if not fits:
            raise UserError(
                f"layer_map must name one teacher layer from 1 to {teacher_layers} for each of the student's "
                f"{student_layers} layers, got {self.layer_map}"
            )
        return self.layer_map

    def check(self, student: BertConfig, teacher: BertConfig) -> None:
        """Layers must map and heads must match one to one."""
        self.resolve_layer_map(student.num_hidden_layers, teacher.num_hidden_layers)
        if student.num_attention_heads != teacher.num_attention_heads:
            raise UserError(
                "attention is compared head by head: student and teacher must have as many heads, "
                f"got {student.num_attention_heads} and {teacher.num_attention_heads}"
            )

    def init_projection(self, key: Array, student: BertConfig, teacher: BertConfig) -> dict[str, Array]:
        """One matrix a hidden state, (L_s + 1, D_s, D_t), where the widths differ (W_e and W_h of the paper)."""
        if student.hidden_size == teacher.hidden_size:
            return {}
        shape = (student.num_hidden_layers + 1, student.hidden_size, teacher.hidden_size)
        return {"kernel": jax.random.normal(key, shape) * student.hidden_size**-0.5}

    def loss(
        self, student: Outputs, teacher: Outputs | None, projection: Params, batch: LabelledBatch
    ) -> tuple[Array, Metrics]:
        """Sum over mapped layers of the attention's and the hidden states' mean squared errors."""
        assert teacher is not None
        student_layers, teacher_layers = (len(o.hidden_states) - 1 for o in (student, teacher))
        layer_map = self.resolve_layer_map(student_layers, teacher_layers)
        kernels = projection.get("kernel", [None] * (student_layers + 1))
        hidden = sum(
            losses.hidden_mse(student.hidden_states[m], teacher.hidden_states[g], batch.attention_mask, kernels[m])
            for m, g in enumerate((0, *layer_map))
        )
        attention = sum(
            self._attention_loss(student, m, teacher, g - 1, batch.attention_mask) for m, g in enumerate(layer_map)
        )
        return jnp.asarray(hidden + attention), {
            "hidden": jnp.asarray(hidden),
            "attention": jnp.asarray(attention),
        }

    def _attention_loss(self, student: Outputs, m: int, teacher: Outputs, g: int, mask: Array) -> Array:
        if self.compare == "probabilities":
            assert student.probabilities is not None and teacher.probabilities is not None
            return losses.attention_mse(student.probabilities[m], teacher.probabilities[g], mask)
        assert student.queries is not None and student.keys is not None
        assert teacher.queries is not None and teacher.keys is not None
        return losses.score_mse_gram(student.queries[m], student.keys[m], teacher.queries[g], teacher.keys[g], mask)


@dataclass(frozen=True)
class Prediction(Objective):
    """Stage 2: w · τ² · soft + (1 − w) · hard on the start and end logits (equation 10; Hinton et al. 2015 for τ²).

    Attributes:
        temperature: τ, softens both distributions.
        soft_weight: w, the share of the teacher's labels.
    """

    temperature: float = 1.0
    soft_weight: float = 1.0

    def __post_init__(self) -> None:
        if self.temperature <= 0:
            raise UserError(f"temperature must be above 0, got {self.temperature}")
        if not 0 <= self.soft_weight <= 1:
            raise UserError(f"soft_weight must be in [0, 1], got {self.soft_weight}")

    def loss(
        self, student: Outputs, teacher: Outputs | None, projection: Params, batch: LabelledBatch
    ) -> tuple[Array, Metrics]:
        """The weighted sum of both cross-entropies."""
        assert teacher is not None
        mask, w, t = batch.attention_mask, self.soft_weight, self.temperature
        soft = losses.soft_cross_entropy(student.logits, teacher.logits, mask, t)
        hard = losses.span_cross_entropy(student.logits, batch.start, batch.end, mask)
        return w * t**2 * soft + (1 - w) * hard, {"soft": soft, "hard": hard}

"""What a stage of training compares: each objective is a frozen value with a pure `loss`. Stage 1 has its own file."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

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
    """What the training step needs to know of a stage; subclasses are frozen values.

    Attributes:
        trains_answers: it reads the student's logits, so that the span head learns: its answers mean something.
        teacher_dropout: the teacher runs in training mode, as Huawei's code left it.
        head_dropout: rate of dropout between the student's last hidden state and its span head.
    """

    trains_answers: ClassVar[bool] = True
    teacher_dropout: bool = False
    head_dropout: float = 0.0

    @property
    def attention(self) -> AttentionOutput:
        """What the forwards must return of the attention."""
        return "none"

    @property
    def uses_teacher(self) -> bool:
        """Whether `loss` reads the teacher's outputs."""
        return True

    @property
    def reads_cache(self) -> bool:
        """Whether the teacher's logits at real tokens are all that `loss` reads of it, the same every epoch."""
        return False

    def check(self, student: BertConfig, teacher: BertConfig) -> None:  # noqa: B027  (most take any two models)
        """Raises a UserError where the two models cannot be compared this way."""

    def init_projection(self, key: Array, student: BertConfig, teacher: BertConfig) -> dict[str, Any]:
        """Parameters of the objective's own, trained beside the student's; empty where none are needed."""
        return {}

    @abstractmethod
    def loss(
        self,
        student: Outputs,
        teacher: Outputs | None,
        projection: Params,
        batch: LabelledBatch,
        step: Array | int = 0,
    ) -> tuple[Array, Metrics]:
        """The loss of a batch, and its terms by name; `step` counts the stage's batches from 0."""


@dataclass(frozen=True)
class Finetune(Objective):
    """Hard labels alone: what trains a teacher, and the student that distillation is compared to."""

    @property
    def uses_teacher(self) -> bool:
        """It does not."""
        return False

    def loss(
        self,
        student: Outputs,
        teacher: Outputs | None,
        projection: Params,
        batch: LabelledBatch,
        step: Array | int = 0,
    ) -> tuple[Array, Metrics]:
        """Cross-entropy of the labelled spans."""
        return losses.span_cross_entropy(student.logits, batch.start, batch.end, batch.attention_mask), {}


@dataclass(frozen=True)
class Prediction(Objective):
    """Stage 2: w · τ² · soft + (1 − w) · hard on the start and end logits (equation 10; Hinton et al. 2015 for τ²).

    Attributes:
        temperature: τ, softens both distributions.
        final_temperature: where given, τ goes there linearly over the first `annealing_steps` batches and stays.
        annealing_steps: read with `final_temperature` only.
        soft_weight: w, the share of the teacher's labels.
        padding: softmax over real tokens, or over every position of the batch (haystack).
        teacher_dropout: the teacher runs in training mode (Huawei).
        head_dropout: rate of dropout before the student's span head (haystack: 0.1).
    """

    temperature: float = 1.0
    final_temperature: float | None = None
    annealing_steps: int = 1000
    soft_weight: float = 1.0
    padding: losses.Padding = "masked"
    teacher_dropout: bool = False
    head_dropout: float = 0.0

    def __post_init__(self) -> None:
        rules = (
            ("temperature", self.temperature > 0, "above 0"),
            ("final_temperature", self.final_temperature is None or self.final_temperature > 0, "above 0"),
            ("annealing_steps", self.annealing_steps >= 1, "at least 1"),
            ("soft_weight", 0 <= self.soft_weight <= 1, "in [0, 1]"),
            ("head_dropout", 0 <= self.head_dropout < 1, "in [0, 1)"),
        )
        for name, holds, rule in rules:
            if not holds:
                raise UserError(f"{name} must be {rule}, got {getattr(self, name)}")

    @property
    def reads_cache(self) -> bool:
        """It does, unless the teacher's logits at padding count or its dropout acts."""
        return self.padding == "masked" and not self.teacher_dropout

    def temperature_at(self, step: Array | int) -> Array | float:
        """τ at a batch of the stage, counted from 0."""
        if self.final_temperature is None:
            return self.temperature
        done = jnp.minimum(step / self.annealing_steps, 1.0)
        return self.temperature + done * (self.final_temperature - self.temperature)

    def loss(
        self,
        student: Outputs,
        teacher: Outputs | None,
        projection: Params,
        batch: LabelledBatch,
        step: Array | int = 0,
    ) -> tuple[Array, Metrics]:
        """The weighted sum of both cross-entropies; the metric "kl" is `soft` less the teacher's entropy."""
        assert teacher is not None
        w, t = self.soft_weight, self.temperature_at(step)
        positions = losses.positions_of(batch.attention_mask, self.padding)
        soft = losses.soft_cross_entropy(student.logits, teacher.logits, positions, t)
        hard = losses.span_cross_entropy(student.logits, batch.start, batch.end, positions)
        kl = soft - losses.soft_cross_entropy(teacher.logits, teacher.logits, positions, t)
        return w * t**2 * soft + (1 - w) * hard, {"soft": soft, "hard": hard, "kl": kl}

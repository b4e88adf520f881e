"""Stage 2: the teacher's logits, softened, and the labels."""

from dataclasses import dataclass
from typing import ClassVar

from jax import Array
from jaxtyping import Float

from tinybert_jax.distill import losses
from tinybert_jax.distill.objective import LossInputs, Metrics, Objective
from tinybert_jax.errors import check, check_choices, check_numbers


@dataclass(frozen=True)
class Prediction(Objective):
    """Stage 2: w · τ² · soft + (1 − w) · hard on the start and end logits (equation 10; Hinton et al. 2015 for τ²).

    With `null_weight` v, + v · null: the cross-entropy of the two models' probabilities of no answer.

    Attributes:
        temperature: τ, softens both distributions.
        soft_weight: w, the share of the teacher's labels.
        padding: softmax over real tokens, or over every position of the batch (haystack).
        teacher_dropout: the teacher runs in training mode (Huawei).
        head_dropout: rate of dropout before the student's span head (haystack: 0.1).
        scale_by_temperature: multiply the teacher's share by τ², which keeps its gradients' size (Huawei does not).
        null_weight: v, of the probability of no answer, which is distilled at temperature 1 whatever τ is.
    """

    tag: ClassVar[str] = "prediction"
    averages_teachers: ClassVar[bool] = True

    temperature: float = 1.0
    soft_weight: float = 1.0
    padding: losses.Padding = "masked"
    teacher_dropout: bool = False
    head_dropout: float = 0.0
    scale_by_temperature: bool = True
    null_weight: float = 0.0

    def __post_init__(self) -> None:
        check_choices(self)
        check_numbers(self)
        check("temperature", self.temperature, self.temperature > 0, "above 0")
        check("soft_weight", self.soft_weight, 0 <= self.soft_weight <= 1, "in [0, 1]")
        check("null_weight", self.null_weight, self.null_weight >= 0, "0 or more")
        check("head_dropout", self.head_dropout, 0 <= self.head_dropout < 1, "in [0, 1)")

    @property
    def needs_labels(self) -> bool:
        """It does, unless the teacher's labels have all of the weight."""
        return self.soft_weight < 1

    @property
    def reads_cache(self) -> bool:
        """It does, unless the teacher's logits at padding count or its dropout acts."""
        return self.padding == "masked" and not self.teacher_dropout

    def loss(self, inputs: LossInputs) -> tuple[Float[Array, ""], Metrics]:
        """The weighted sum of the cross-entropies; the metric "kl" is `soft` less the teacher's entropy."""
        assert inputs.teacher is not None
        student, teacher, batch = inputs.student.logits, inputs.teacher.logits, inputs.batch
        w, t = self.soft_weight, self.temperature
        positions = losses.positions_of(batch.attention_mask, self.padding)
        soft = losses.soft_cross_entropy(student, teacher, positions, t)
        hard = losses.span_cross_entropy(student, batch.start, batch.end, positions)
        kl = soft - losses.soft_cross_entropy(teacher, teacher, positions, t)
        scale = t**2 if self.scale_by_temperature else 1.0
        total, terms = w * scale * soft + (1 - w) * hard, {"soft": soft, "hard": hard, "kl": kl}
        if not self.null_weight:
            return total, terms
        null = losses.null_cross_entropy(student, teacher, positions)
        return total + self.null_weight * null, terms | {"null": null}

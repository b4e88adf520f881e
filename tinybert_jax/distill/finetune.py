"""Fine-tuning: the labels, without a teacher."""

from dataclasses import dataclass
from typing import ClassVar

from jax import Array
from jaxtyping import Float

from tinybert_jax.distill import losses
from tinybert_jax.distill.objective import LossInputs, Metrics, Objective


@dataclass(frozen=True)
class Finetune(Objective):
    """What trains a teacher, and the student that distillation is compared to."""

    tag: ClassVar[str] = "finetune"

    @property
    def uses_teacher(self) -> bool:
        """It does not."""
        return False

    def loss(self, inputs: LossInputs) -> tuple[Float[Array, ""], Metrics]:
        """Cross-entropy of the labelled spans."""
        batch = inputs.batch
        return losses.span_cross_entropy(inputs.student.logits, batch.start, batch.end, batch.attention_mask), {}

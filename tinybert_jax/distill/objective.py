"""What the training step asks of a stage: an objective is a frozen value with a pure `loss`."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar, NamedTuple, Protocol, runtime_checkable

from jax import Array
from jaxtyping import Bool, Float, Int, PRNGKeyArray

from tinybert_jax.arrays import AnyArray
from tinybert_jax.model import BertConfig, Outputs
from tinybert_jax.model.bert import AttentionOutput, Params
from tinybert_jax.model.ops.platform import PORTABLE, Platform

Metrics = dict[str, Float[Array, ""]]


@runtime_checkable
class LabelledBatch(Protocol):
    """What a loss reads of a batch; `data.Batch` is one."""

    @property
    def attention_mask(self) -> Bool[AnyArray, "B T"]: ...
    @property
    def start(self) -> Int[AnyArray, " B"]: ...
    @property
    def end(self) -> Int[AnyArray, " B"]: ...


class LossInputs(NamedTuple):
    """What a loss may read.

    Attributes:
        student: the student's outputs.
        teacher: the teacher's; None where the objective uses none.
        params: the objective's own parameters, as `Objective.init_projection` made them.
        batch: masks and labels.
        step: the stage's batches so far, for what changes in the course of a stage; may be traced.
        platform: what the loss runs on.
    """

    student: Outputs
    teacher: Outputs | None
    params: Params
    batch: LabelledBatch
    step: Int[AnyArray, ""] | int = 0
    platform: Platform = PORTABLE


class Objective(ABC):
    """What a stage of training compares. Subclasses are frozen dataclasses, listed in `objectives.OBJECTIVES`.

    Attributes:
        tag: the kind's name, in folders, recipes and model cards.
        trains_answers: it reads the student's logits, so that the span head learns: its answers mean something.
        averages_teachers: several teachers may stand behind one: it reads logits, whose mean is logits too.
        teacher_dropout: the teacher runs in training mode, as Huawei's code left it.
        head_dropout: rate of dropout between the student's last hidden state and its span head.
    """

    tag: ClassVar[str]
    trains_answers: ClassVar[bool] = True
    averages_teachers: ClassVar[bool] = False
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
    def needs_labels(self) -> bool:
        """Whether `loss` reads the labelled spans; without a teacher there is nothing else to learn from."""
        return not self.uses_teacher

    @property
    def reads_cache(self) -> bool:
        """Whether the teacher's logits at real tokens are all that `loss` reads of it, the same every epoch."""
        return False

    def check(self, student: BertConfig, teacher: BertConfig) -> None:  # noqa: B027  (most take any two models)
        """Raises a UserError where the two models cannot be compared this way."""

    def describe(self, student: BertConfig, teacher: BertConfig) -> str | None:
        """Which of the teacher's layers each student layer learns from, for the model card; None if from none."""
        return None

    def init_projection(self, key: PRNGKeyArray, student: BertConfig, teacher: BertConfig) -> dict[str, Any]:
        """Parameters of the objective's own, trained beside the student's; empty where none are needed."""
        return {}

    @abstractmethod
    def loss(self, inputs: LossInputs) -> tuple[Float[Array, ""], Metrics]:
        """The loss of a batch, and its terms by name."""

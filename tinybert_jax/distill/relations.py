"""Relations between tokens, as in MiniLMv2: one layer of each model, whatever their widths and numbers of heads."""

import math
from dataclasses import dataclass
from typing import ClassVar

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from tinybert_jax.distill.objective import LossInputs, Metrics, Objective
from tinybert_jax.distill.relation_kl import relation_kl
from tinybert_jax.errors import UserError, check, check_least, check_numbers
from tinybert_jax.model import BertConfig, Outputs
from tinybert_jax.model.bert import AttentionOutput

_MOST_HEADS = 48  # of MiniLMv2, for BERT-base


@dataclass(frozen=True)
class Relations(Objective):
    """Stage 1 by one layer: how queries relate to queries, keys to keys and values to values (Wang et al. 2021).

    Attributes:
        heads: relation heads, into which both models' queries, keys and values are cut; must divide both widths. The
            largest number up to 48 that does when None.
        student_layer: the student's layer that learns, from 1; its last when None. Layers above it are not trained.
        teacher_layer: the teacher's layer that it learns from, from 1; its last when None.
    """

    tag: ClassVar[str] = "relations"
    trains_answers: ClassVar[bool] = False

    heads: int | None = None
    student_layer: int | None = None
    teacher_layer: int | None = None

    def __post_init__(self) -> None:
        check_numbers(self)
        check_least(self, heads=1, student_layer=1, teacher_layer=1)

    @property
    def attention(self) -> AttentionOutput:
        """Queries, keys and values."""
        return "relations"

    def check(self, student: BertConfig, teacher: BertConfig) -> None:
        """The layers must be there, and the heads divide both widths."""
        for side, chosen, model in (("student", self.student_layer, student), ("teacher", self.teacher_layer, teacher)):
            layers = model.num_hidden_layers
            check(f"{side}_layer", chosen, chosen is None or chosen <= layers, f"one of the {side}'s {layers} layers")
        widths = student.hidden_size, teacher.hidden_size
        if math.gcd(*widths) % (self.heads or 1):
            raise UserError(
                f"relation heads must divide both models' widths, got {self.heads} for {widths[0]} and {widths[1]} "
                f"units: leave heads out, for {_most_heads(*widths)}"
            )

    def describe(self, student: BertConfig, teacher: BertConfig) -> str:
        """The two layers: "3 ← 6"."""
        return f"{self.student_layer or student.num_hidden_layers} ← {self.teacher_layer or teacher.num_hidden_layers}"

    def loss(self, inputs: LossInputs) -> tuple[Float[Array, ""], Metrics]:
        """The sum of the three divergences."""
        assert inputs.teacher is not None
        student, teacher = _of_layer(inputs.student, self.student_layer), _of_layer(inputs.teacher, self.teacher_layer)
        terms: Metrics = {}
        for name, ours in student.items():
            pair = ours, teacher[name]
            heads = self.heads or _most_heads(*(x.shape[2] * x.shape[3] for x in pair))
            ours, theirs = (x.reshape(*x.shape[:2], heads, -1) for x in pair)
            terms[name] = relation_kl(ours, theirs, inputs.batch.attention_mask, inputs.platform)
        return jnp.stack(list(terms.values())).sum(), terms


def _most_heads(student_width: int, teacher_width: int) -> int:
    common = math.gcd(student_width, teacher_width)
    return max(heads for heads in range(1, _MOST_HEADS + 1) if common % heads == 0)


def _of_layer(outputs: Outputs, layer: int | None) -> dict[str, Float[Array, "B T N H"]]:
    """A layer's queries, keys and values; the last layer's when None."""
    assert outputs.queries is not None and outputs.keys is not None and outputs.values is not None
    index = -1 if layer is None else layer - 1
    return {"queries": outputs.queries[index], "keys": outputs.keys[index], "values": outputs.values[index]}

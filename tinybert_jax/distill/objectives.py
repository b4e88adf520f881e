"""Every kind of objective by its tag: a new one is a file of its own and a line here."""

from tinybert_jax.distill.finetune import Finetune
from tinybert_jax.distill.intermediate import Intermediate
from tinybert_jax.distill.objective import Objective
from tinybert_jax.distill.prediction import Prediction
from tinybert_jax.distill.relations import Relations

_KINDS: tuple[type[Objective], ...] = (
    Finetune,
    Intermediate,
    Prediction,
    Relations,
)
OBJECTIVES = {kind.tag: kind for kind in _KINDS}

"""What each of the systems we reimplement meant by TinyBERT distillation, as one frozen value each.

A preset says what is compared and how an update is made; rates, batch sizes and epochs are a recipe's business.
"""

from dataclasses import dataclass

from tinybert_jax.distill.intermediate import Intermediate
from tinybert_jax.distill.mapping import Projection
from tinybert_jax.distill.objectives import Prediction
from tinybert_jax.distill.optimizer import UpdateRule


@dataclass(frozen=True)
class Preset:
    """Both stages' objectives and the optimiser's rule.

    Attributes:
        source: where it comes from.
        intermediate: stage 1.
        prediction: stage 2.
        rule: of the student's optimiser in both.
    """

    source: str
    intermediate: Intermediate
    prediction: Prediction
    rule: UpdateRule


# Departures: haystack never trained its projections and used the last one for every state (a leaked loop variable).
# Its plain means include padding, so its figures need batches padded to the full length: `--buckets 384`.
HAYSTACK = Preset(
    source="deepset haystack 1.26, TinyBERT distillation",
    intermediate=Intermediate(compare="probabilities", padding="counted", projection=Projection("per-state")),
    prediction=Prediction(padding="counted", head_dropout=0.1),
    rule=UpdateRule(decay="all"),
)

# Departures: for its classes it averages the soft cross-entropy over them; over tokens that would be a mean over the
# length, so start and end are summed over tokens here, as everywhere else.
HUAWEI = Preset(
    source="huawei-noah/Pretrained-Language-Model, TinyBERT's task_distill.py",
    intermediate=Intermediate(
        padding="counted", projection=Projection("shared", bias=True, always=True), teacher_dropout=True
    ),
    prediction=Prediction(padding="counted", teacher_dropout=True),
    rule=UpdateRule(bias_correction=False, eps=1e-6, decay="matrices", clip="tensor"),
)

# The paper is silent on padding and on the optimiser: l is "the input text length", and AdamW stands in.
PAPER = Preset(
    source="Jiao et al. 2020, TinyBERT: Distilling BERT for Natural Language Understanding, section 3",
    intermediate=Intermediate(projection=Projection("embeddings-layers", always=True)),
    prediction=Prediction(),
    rule=UpdateRule(decay="matrices"),
)

# Scores are of order 1 and their term starts some thirty times as large as the hidden states'. On real text, in runs
# of a thousand steps, the student answers the better the less that term weighs; 0.01 keeps it without crowding.
RECOMMENDED = Preset(
    source="tinybert_jax",
    intermediate=Intermediate(attention_weight=0.01),
    prediction=Prediction(),
    rule=UpdateRule(),
)

PRESETS = {"haystack": HAYSTACK, "huawei": HUAWEI, "paper": PAPER, "recommended": RECOMMENDED}

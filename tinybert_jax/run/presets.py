"""What each of the systems we reimplement meant by TinyBERT distillation, as one frozen value each.

A preset says what is compared, how an update is made and what augmentation replaces; rates, batch sizes, epochs and
numbers of copies are a recipe's business.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from tinybert_jax.augment.rules import AugmentRules
from tinybert_jax.distill import Intermediate, Objective, Prediction, Projection, UpdateRule


@dataclass(frozen=True)
class Preset:
    """One system's meaning of a whole recipe.

    Attributes:
        source: where it comes from.
        objectives: what a stage compares, by the objective's tag; stages of other kinds stay as they are.
        rule: of the student's optimiser in every stage.
        augment: which words are replaced, and what becomes of answers and originals.
        dropout: of the student, in the stages that learn from a teacher; None for its own config's.
    """

    source: str
    objectives: Mapping[str, Objective] = field(hash=False)
    rule: UpdateRule
    augment: AugmentRules
    dropout: float | None = None


# haystack's plain means include padding, so its figures need batches padded to the full length: `--buckets 384`. Its
# `doc_stride` is the step from window to window: `--windows.stride-means step`. Departures:
# - It never trained its projections, and of those of states 0 to L_s took that of L_s − 1 for every state (a leaked
#   loop variable).
# - In stage 2 it trains one scalar more, `temperature_for_confidence`, which divides the student's logits, counts in
#   the norm that gradients are clipped by, and is not in the exported model: 1.01 after 18 updates at 2e-3, so that
#   losses part by 2e-3 within five updates. Here logits are the model's.
# - Where several word pieces share one range of characters, its label starts at the last of them, ours at the first.
#   Where a window ends just before an answer's last token, its end label is the [SEP]; here the window holds no answer.
# - Its candidate words were what was left of the masked LM's first k without "##" pieces, and could be the word itself;
#   here they are k other words. The ids of its copies repeated, and words beyond position 510 were never replaced.
HAYSTACK = Preset(
    source="deepset haystack 1.26, TinyBERT distillation and augment_squad",
    objectives={
        "intermediate": Intermediate(compare="probabilities", padding="counted", projection=Projection("per-state")),
        "prediction": Prediction(padding="counted", head_dropout=0.1),
    },
    rule=UpdateRule(decay="all"),
    augment=AugmentRules(
        words="any",
        stop_words=True,
        context=512,
        glove_words=100_000,
        answers="empty",
        originals=False,
        distinct=False,
        spacing="single",
    ),
)

# Rates are a recipe's, so that stage 1's constant one is too: `--stages.0.warmup 0 --stages.0.schedule constant`.
# Departures:
# - For its classes it averages the soft cross-entropy over them; over tokens that would be a mean over the length, so
#   start and end are summed over tokens here, as everywhere else.
# - Its augmentation was written for sentences without answers: candidates are as above, and of the same kind as the
#   words they replace; the text outside of these stays as it is, where theirs became lower-case words joined by spaces.
HUAWEI = Preset(
    source="huawei-noah/Pretrained-Language-Model, TinyBERT's task_distill.py and data_augmentation.py",
    objectives={
        "intermediate": Intermediate(
            padding="counted", projection=Projection("shared", bias=True, always=True), teacher_dropout=True
        ),
        "prediction": Prediction(padding="counted", teacher_dropout=True, scale_by_temperature=False),
    },
    rule=UpdateRule(bias_correction=False, eps=1e-6, decay="matrices", clip="tensor", fractional_warmup=True),
    augment=AugmentRules(words="a-z", pair=True, context=512),
)

# The paper is silent on padding and on the optimiser: l is "the input text length", and AdamW stands in. Its algorithm
# of augmentation is what its authors released.
PAPER = Preset(
    source="Jiao et al. 2020, TinyBERT: Distilling BERT for Natural Language Understanding, section 3",
    objectives={
        "intermediate": Intermediate(projection=Projection("embeddings-layers", always=True)),
        "prediction": Prediction(),
    },
    rule=UpdateRule(decay="matrices"),
    augment=HUAWEI.augment,
)

# Scores are of order 1 and their term starts some thirty times as large as the hidden states'. On real text, in runs
# of a thousand steps, the student answers the better the less that term weighs; 0.01 keeps it without crowding.
# Dropout costs a small student 3 F1 in a run that sees every question once; many passes over few questions want it.
RECOMMENDED = Preset(
    source="tinybert_jax",
    objectives={"intermediate": Intermediate(attention_weight=0.01), "prediction": Prediction()},
    rule=UpdateRule(),
    augment=AugmentRules(),
    dropout=0.0,
)

PresetName = Literal["haystack", "huawei", "paper", "recommended"]
PRESETS: dict[PresetName, Preset] = {
    "haystack": HAYSTACK,
    "huawei": HUAWEI,
    "paper": PAPER,
    "recommended": RECOMMENDED,
}

"""Recipes: all that a run depends on, as frozen values that `train.py` takes by name and overrides by flag."""

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from tinybert_jax.data.synthetic import SyntheticConfig
from tinybert_jax.data.windows import WindowConfig
from tinybert_jax.distill import Finetune, Intermediate, Objective, OptimizerConfig, Prediction, Preset
from tinybert_jax.distill.presets import HAYSTACK, PAPER, RECOMMENDED
from tinybert_jax.errors import UserError
from tinybert_jax.model import BertConfig
from tinybert_jax.model.config import Dtype
from tinybert_jax.scoring import AnswerConfig


@dataclass(frozen=True, kw_only=True)
class Stage(OptimizerConfig):
    """One stage of training: an objective, how long, on what; and its optimiser's figures.

    Attributes:
        objective: what is compared.
        epochs: passes over the data.
        batch_size: windows a step, over all devices.
        max_steps: ends the stage sooner, its schedule included.
        augmented: train on the recipe's augmented data, where it has any.
    """

    objective: Finetune | Intermediate | Prediction
    epochs: int = 5
    batch_size: int = 26
    max_steps: int | None = None
    augmented: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("epochs", "batch_size", "max_steps"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise UserError(f"{name} must be at least 1, got {getattr(self, name)}")

    def steps(self, steps_per_epoch: int) -> int:
        """Batches in the stage."""
        return min(self.epochs * steps_per_epoch, self.max_steps or self.epochs * steps_per_epoch)


@dataclass(frozen=True)
class SyntheticTask:
    """A data set and two untrained models, generated at the start of the run instead of being fetched.

    Attributes:
        data: what to generate.
        teacher: the teacher's shape, but for the vocabulary.
        student: the student's.
        vocab_size: the most pieces that the tokenizer trained on the data may have.
    """

    data: SyntheticConfig
    teacher: BertConfig
    student: BertConfig
    vocab_size: int


@dataclass(frozen=True)
class Recipe:
    """A run: models and data by hub id or path, the stages, and what is measured.

    Attributes:
        name: the recipe's name.
        student: the model that is trained.
        teacher: the model it learns from; None where every stage is a `Finetune`.
        train: training data, a SQuAD JSON file or a hub data set "owner/name:split".
        dev: data the scores are measured on.
        stages: the student's training, in order.
        teacher_stages: training that turns `teacher` into the teacher; none where it is one already.
        compare_undistilled: also train the same student on the labels alone, for as many steps as all stages
            together: what distillation is compared to.
        undistilled: the optimiser of that comparison.
        augmented: augmented training data for the stages that ask for it; they use `train` without it.
        train_questions: train on a random sample of that many questions.
        dev_questions: score a random sample of that many questions.
        windows: how text is cut into windows.
        answers: how answers are read off the logits.
        buckets: batch lengths in tokens; empty for the defaults below `windows.max_seq_len`.
        eval_batch_size: windows a forward when scoring.
        dtype: what matrix products compute in.
        teacher_cache: how the teachers' logits are kept on disk for the stages that can train from them; "off" runs
            the teacher in every step.
        more_teachers: models of the teacher's vocabulary, trained already; in stage 2 the logits of all teachers
            are averaged.
        seed: decides samples, batches, dropout and fresh heads.
        checkpoint_every: steps between checkpoints.
        log_every: steps between lines of metrics.jsonl.
        cache: where tokenised data is kept between runs.
        synthetic: generates data and models; `student`, `teacher`, `train` and `dev` are then its own.
    """

    name: str
    student: str
    teacher: str | None
    train: str
    dev: str
    stages: tuple[Stage, ...]
    teacher_stages: tuple[Stage, ...] = ()
    compare_undistilled: bool = False
    undistilled: OptimizerConfig = OptimizerConfig()
    augmented: str | None = None
    train_questions: int | None = None
    dev_questions: int | None = None
    windows: WindowConfig = WindowConfig()
    answers: AnswerConfig = AnswerConfig()
    buckets: tuple[int, ...] = ()
    eval_batch_size: int = 32
    dtype: Dtype = "float32"
    teacher_cache: Literal["off", "float16", "float32"] = "float32"
    more_teachers: tuple[str, ...] = ()
    seed: int = 0
    checkpoint_every: int = 500
    log_every: int = 50
    cache: Path = field(default_factory=lambda: Path.home() / ".cache" / "tinybert_jax")
    synthetic: SyntheticTask | None = None

    def __post_init__(self) -> None:
        for name in ("train_questions", "dev_questions", "eval_batch_size", "checkpoint_every", "log_every"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise UserError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not self.stages:
            raise UserError("a recipe needs at least one stage, got none")
        if self.teacher is None and any(stage.objective.uses_teacher for stage in self.stages):
            raise UserError("a stage that distils needs a teacher, got none: give --teacher")
        cacheable = [stage.objective.reads_cache for stage in self.stages if isinstance(stage.objective, Prediction)]
        if self.more_teachers and (self.teacher_cache == "off" or not cacheable or not all(cacheable)):
            raise UserError(
                "more_teachers are averaged from cached logits: that needs a Prediction stage, each one able to train "
                f"from the cache, and a --teacher-cache that is not off; got {', '.join(self.more_teachers)} with "
                f"teacher_cache {self.teacher_cache!r} and {len(cacheable)} Prediction stages, {sum(cacheable)} able"
            )


def with_preset(recipe: Recipe, preset: Preset) -> Recipe:
    """The recipe with a preset's objectives and update rule in the student's stages; all else stays."""

    def changed(stage: Stage) -> Stage:
        objectives: dict[type, Objective] = {Intermediate: preset.intermediate, Prediction: preset.prediction}
        objective = objectives.get(type(stage.objective), stage.objective)
        return dataclasses.replace(stage, objective=objective, rule=preset.rule)

    undistilled = dataclasses.replace(recipe.undistilled, rule=preset.rule)
    return dataclasses.replace(recipe, stages=tuple(map(changed, recipe.stages)), undistilled=undistilled)


_SQUAD_2_TRAIN, _SQUAD_2_DEV = "rajpurkar/squad_v2:train", "rajpurkar/squad_v2:validation"


def quickstart() -> Recipe:
    """A generated task, end to end and offline: a teacher is trained, then distilled into a smaller student.

    `python train.py quickstart --output runs/quickstart`
    """
    teacher = BertConfig(
        hidden_size=64,
        num_hidden_layers=4,
        num_attention_heads=4,
        intermediate_size=128,
        max_position_embeddings=128,
        hidden_dropout_prob=0.0,  # every question is seen a few times only: there is nothing to overfit to
        attention_probs_dropout_prob=0.0,
        initializer_range=0.08,  # narrow layers start too quietly at BERT's 0.02
    )
    student = dataclasses.replace(teacher, num_hidden_layers=2)
    return Recipe(
        name="quickstart",
        student="synthetic/student",
        teacher="synthetic/teacher",
        train="synthetic/train.json",
        dev="synthetic/dev.json",
        teacher_stages=(Stage(objective=Finetune(), batch_size=32, max_steps=900, learning_rate=2.5e-3),),
        stages=(
            Stage(objective=RECOMMENDED.intermediate, batch_size=32, max_steps=250, learning_rate=6e-3),
            Stage(objective=RECOMMENDED.prediction, batch_size=32, max_steps=200, learning_rate=2e-3),
        ),
        compare_undistilled=True,
        undistilled=OptimizerConfig(learning_rate=3e-3),
        windows=WindowConfig(max_seq_len=80, doc_stride=16),
        buckets=(64, 80),
        synthetic=SyntheticTask(SyntheticConfig(), teacher, student, vocab_size=1600),
    )


def tinybert_6l_768d_squad2() -> Recipe:
    """The recipe of the model card deepset/tinybert-6l-768d-squad2: its figures, and haystack's meaning of them.

    `python train.py tinybert-6l-768d-squad2 --augmented augmented.json --output runs/tinybert-6l`

    Published: 71.88 EM / 76.36 F1 on SQuAD 2.0 dev (73.82 / 77.17 by the hub's evaluator), with the training set
    augmented 20 times for stage 1. Not run here. Padding counts in haystack's means, so every batch is padded to 384
    as there; `--preset recommended --buckets 128 192 256 384` takes about half of the time, and its means do not.
    """
    return Recipe(
        name="tinybert-6l-768d-squad2",
        student="huawei-noah/TinyBERT_General_6L_768D",
        teacher="deepset/bert-base-uncased-squad2",
        stages=_card_stages(HAYSTACK),
        buckets=(384,),
        train=_SQUAD_2_TRAIN,
        dev=_SQUAD_2_DEV,
    )


def tinybert_6l_768d_squad2_paper() -> Recipe:
    """TinyBERT6 as the paper defines it: attention scores, learnt projections, means over the text's tokens.

    `python train.py tinybert-6l-768d-squad2-paper --augmented augmented.json --output runs/tinybert-6l-paper`

    Published: 74.7 EM / 77.7 F1 on SQuAD 2.0 dev (Jiao et al. 2020). Not run here. Rates, batch and epochs are those
    of the recipe above, as the paper's for SQuAD are not all given.
    """
    card = tinybert_6l_768d_squad2()
    return dataclasses.replace(card, name=f"{card.name}-paper", stages=_card_stages(PAPER), buckets=())


def tinybert_4l_312d_squad2() -> Recipe:
    """TinyBERT4, an eighth of its teacher: 4 layers, 312 wide, through trained projections.

    `python train.py tinybert-4l-312d-squad2 --augmented augmented.json --output runs/tinybert-4l`

    Published: 68.2 EM / 71.8 F1 on SQuAD 2.0 dev (Jiao et al. 2020). Not run here. Rates, batch and epochs are those
    of the six layers' recipe.
    """
    return dataclasses.replace(
        tinybert_6l_768d_squad2(),
        name="tinybert-4l-312d-squad2",
        student="huawei-noah/TinyBERT_General_4L_312D",
        stages=_card_stages(RECOMMENDED),
        buckets=(),
    )


def _card_stages(preset: Preset) -> tuple[Stage, ...]:
    """Both stages with the model card's figures: batch 26, five epochs, its rates; haystack's default warm-up."""
    return (
        Stage(
            objective=preset.intermediate,
            epochs=5,
            batch_size=26,
            learning_rate=5e-5,
            warmup=0.2,
            rule=preset.rule,
            augmented=True,
        ),
        Stage(objective=preset.prediction, epochs=5, batch_size=26, learning_rate=3e-5, warmup=0.2, rule=preset.rule),
    )


def finetune_teacher() -> Recipe:
    """BERT-base fine-tuned on SQuAD 2.0: a teacher for the recipes above, where the hub's is not wanted.

    `python train.py finetune-teacher --output runs/teacher`

    Published for BERT-base: 74.5 EM / 77.7 F1 (the teacher of the TinyBERT paper). Not run here.
    """
    return Recipe(
        name="finetune-teacher",
        student="google-bert/bert-base-uncased",
        teacher=None,
        stages=(Stage(objective=Finetune(), epochs=2, batch_size=24, learning_rate=3e-5),),
        train=_SQUAD_2_TRAIN,
        dev=_SQUAD_2_DEV,
    )


def minilm_3l_squad2() -> Recipe:
    """Six layers to three on real text, small enough for a CPU: both models 384 wide, of BERT's vocabulary.

    `python train.py minilm-3l-squad2 --teacher FOLDER --student FOLDER --train TRAIN.json.gz --dev DEV.json.gz
    --output runs/minilm`

    Not run here as it stands. With --train-questions 3500 --stages.0.epochs 1, on 2,000 dev questions: teacher
    44.65 EM / 48.12 F1; both students, distilled or not, 49.8 / 49.8: after 484 steps they never answer.
    """
    return Recipe(
        name="minilm-3l-squad2",
        student="sentence-transformers/paraphrase-MiniLM-L3-v2",
        teacher="sentence-transformers/all-MiniLM-L6-v2",
        teacher_stages=(Stage(objective=Finetune(), epochs=2, batch_size=16, learning_rate=1e-4),),
        stages=(
            Stage(objective=RECOMMENDED.intermediate, epochs=1, batch_size=16, learning_rate=2e-4, augmented=True),
            Stage(objective=RECOMMENDED.prediction, epochs=2, batch_size=16, learning_rate=1e-4),
        ),
        compare_undistilled=True,
        undistilled=OptimizerConfig(learning_rate=1e-4),
        windows=WindowConfig(max_seq_len=256, doc_stride=96),
        buckets=(128, 160, 192, 256),
        train_questions=16_000,
        dev_questions=4_000,
        train=_SQUAD_2_TRAIN,
        dev=_SQUAD_2_DEV,
    )


RECIPES = {
    recipe().name: recipe
    for recipe in (
        quickstart,
        tinybert_6l_768d_squad2,
        tinybert_6l_768d_squad2_paper,
        tinybert_4l_312d_squad2,
        minilm_3l_squad2,
        finetune_teacher,
    )
}

"""What a run depends on, as frozen values: a recipe and its stages."""

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from tinybert_jax.augment.rules import AugmentConfig
from tinybert_jax.data.batches import default_buckets
from tinybert_jax.data.windows import WindowConfig
from tinybert_jax.distill import Objective, OptimizerConfig
from tinybert_jax.errors import UserError, check_least
from tinybert_jax.model.config import Dtype
from tinybert_jax.run.presets import Preset
from tinybert_jax.scoring import AnswerConfig
from tinybert_jax.store.cache import default_cache
from tinybert_jax.synthetic.task import SyntheticTask


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

    objective: Objective
    epochs: int = 5
    batch_size: int = 26
    max_steps: int | None = None
    augmented: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_least(self, epochs=1, batch_size=1, max_steps=1)

    def steps(self, steps_per_epoch: int) -> int:
        """Batches in the stage."""
        return min(self.epochs * steps_per_epoch, self.max_steps or self.epochs * steps_per_epoch)


@dataclass(frozen=True)
class Recipe:
    """A run: models and data by hub id or path, the stages, and what is measured.

    Attributes:
        name: the recipe's name.
        student: the model that is trained.
        teacher: the model it learns from; None where every stage is a `Finetune`.
        train: training data: a SQuAD JSON file, an .arrow file of `augment` or a hub data set "owner/name:split".
        dev: data the scores are measured on.
        stages: the student's training, in order.
        teacher_stages: training that turns `teacher` into the teacher; none where it is one already.
        compare_undistilled: also train the same student on the labels alone, for as many steps as all stages
            together: what distillation is compared to.
        undistilled: the optimiser of that comparison.
        augmented: augmented training data for the stages that ask for it.
        augment: makes that data out of `train` where `augmented` names none; without either, they use `train`.
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
        cache: where tokenised data, teachers' logits and augmentations are kept between runs.
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
    augment: AugmentConfig | None = None
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
    cache: Path = field(default_factory=default_cache)
    synthetic: SyntheticTask | None = None

    def __post_init__(self) -> None:
        for name in ("train_questions", "dev_questions", "eval_batch_size", "checkpoint_every", "log_every"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise UserError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not self.stages:
            raise UserError("a recipe needs at least one stage, got none")
        if self.teacher is None and any(stage.objective.uses_teacher for stage in self.stages):
            raise UserError("a stage that distils needs a teacher, got none: give --teacher")
        cacheable = [stage.objective.reads_cache for stage in self.stages if stage.objective.averages_teachers]
        if self.more_teachers and (self.teacher_cache == "off" or not cacheable or not all(cacheable)):
            raise UserError(
                "more_teachers are averaged from cached logits: that needs a stage that learns from logits, as "
                "prediction does, each one able to train from the cache, and a --teacher-cache that is not off; got "
                f"{', '.join(self.more_teachers)} with teacher_cache {self.teacher_cache!r} and {len(cacheable)} such "
                f"stages, {sum(cacheable)} able"
            )

    @property
    def batch_lengths(self) -> tuple[int, ...]:
        """The lengths that batches are padded to, in tokens."""
        return self.buckets or default_buckets(self.windows.max_seq_len)


def with_preset(recipe: Recipe, preset: Preset) -> Recipe:
    """The recipe with a preset's objectives and update rule in the student's stages, and its rules of augmentation.

    All else stays: rates, lengths, the teacher's stages; a recipe that augments nothing still does not.
    """

    def changed(stage: Stage) -> Stage:
        objective = preset.objectives.get(stage.objective.tag, stage.objective)
        return dataclasses.replace(stage, objective=objective, rule=preset.rule)

    return dataclasses.replace(
        recipe,
        stages=tuple(map(changed, recipe.stages)),
        undistilled=dataclasses.replace(recipe.undistilled, rule=preset.rule),
        augment=recipe.augment and dataclasses.replace(recipe.augment, rules=preset.augment),
    )

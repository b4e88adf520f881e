"""What a run depends on, as frozen values: a recipe and its stages."""

import dataclasses
import itertools
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from tinybert_jax.augment.rules import AugmentConfig
from tinybert_jax.data.batches import default_buckets
from tinybert_jax.data.windows import WindowConfig
from tinybert_jax.distill import Objective, OptimizerConfig
from tinybert_jax.errors import UserError, check, check_choices, check_least, check_numbers
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
        max_steps: ends the stage after so many steps, if that is sooner; the learning rate's schedule ends there too.
        augmented: train on the recipe's augmented data, where it has any.
        dropout: rate of dropout in the hidden states and the attention of the model that is trained; None for what its
            config.json says. What is exported keeps that.
    """

    objective: Objective
    epochs: int = 5
    batch_size: int = 26
    max_steps: int | None = None
    augmented: bool = False
    dropout: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_least(self, epochs=1, batch_size=1, max_steps=1)
        check("dropout", self.dropout, self.dropout is None or 0 <= self.dropout < 1, "in [0, 1)")

    def steps(self, steps_per_epoch: int) -> int:
        """Batches in the stage."""
        return min(self.epochs * steps_per_epoch, self.max_steps or self.epochs * steps_per_epoch)


@dataclass(frozen=True)
class Recipe:
    """A run: models and data by hub id or path, the stages, and what is measured.

    Attributes:
        name: the recipe's name.
        student: the model that is trained: a folder or a hub id, "owner/name" or "owner/name@revision". Not read where
            `student_from_teacher` makes one.
        teacher: the model it learns from; None where every stage is a `Finetune`.
        train: training data: a SQuAD JSON file, an .arrow file of `augment` or a hub data set
            "owner/name[/configuration][@revision]:split"; or a .jsonl file of questions without labels, for stages that
            learn from the teacher alone. None where there is a `corpus`.
        dev: data the scores are measured on; without labels, agreement with the teacher is. None where there is a
            `corpus`.
        stages: the student's training, in order.
        teacher_stages: training that turns `teacher` into the teacher; none where it is one already.
        compare_undistilled: also train the same student on the labels alone, for as many steps as all stages
            together and with the last one's dropout: what distillation is compared to.
        undistilled: the optimiser's settings for `compare_undistilled`.
        augmented: augmented training data for the stages that ask for it.
        augment: makes that data out of `train` where `augmented` names none; without either, they use `train`.
        train_questions: train on a random sample of that many questions.
        dev_questions: score a random sample of that many questions.
        hold_out_questions: the share of `train`'s articles, or contexts where it has no titles, whose questions are
            held out of training, for `eval_every`.
        eval_every: steps between scorings on the held-out questions, in every stage that trains to answer; not in
            stage 1. A stage's last step is scored too.
        keep: which step is the result of a scored stage, the last, or that with the best F1 on the held-out questions.
        patience: a scored stage ends early, once so many scorings in a row were no better than its best.
        windows: how text is cut into windows.
        answers: how answers are read off the logits.
        buckets: batch lengths in tokens; empty for the defaults below `windows.max_seq_len`.
        eval_batch_size: windows in a forward pass when scoring.
        dtype: what matrix products compute in; "auto" is bfloat16 where this machine multiplies it clearly faster,
            measured as the run begins, and float32 elsewhere.
        teacher_cache: how the teachers' logits are kept on disk for the stages that can train from them; "off" runs
            the teacher in every step.
        shard_teacher: for large teachers: each device keeps a part of the teacher, and layers are gathered one by one.
            The results do not change, and a run may be continued with or without it.
        more_teachers: more trained teachers, of the same vocabulary; in stage 2 the logits of all teachers are
            averaged.
        seed: decides samples, batches, dropout and fresh heads.
        checkpoint_every: steps between checkpoints.
        log_every: steps between lines of metrics.jsonl.
        skip_bad_updates: how many of a stage's updates may be left out because their gradients are not finite; with 0
            the first one ends the run. Not for a stage that accumulates.
        cache: where tokenised data, teachers' logits and augmentations are kept between runs.
        synthetic: generates data and models; `student`, `teacher`, `train` and `dev` are then its own.
        student_from_teacher: makes the student from layers of the trained teacher: "6", so many evenly spaced ones;
            "half", half of them, evenly spaced; "0,2,4", these, counted from 0; "first" or "last", the half at that
            end; "first:4" or "last:4", so many there.
        student_width: hidden units of a student from the teacher; None for as many as the teacher has.
        student_heads: its attention heads; None for as many heads of the teacher's width as fit.
        student_positions: the longest input of a student from the teacher, in tokens; None for the teacher's.
        trim_vocabulary: leave tokens that the training data does not use out of the tokenizer and of all models; single
            characters stay.
        corpus: plain text to train on in place of questions: text files and .jsonl files, plain or gzipped, folders,
            patterns such as "texts/*.txt.gz", or hub data sets with their split, for stages that compare states alone.
        corpus_column: the field of .jsonl files, or column of hub data sets, that holds the text.
    """

    name: str
    student: str
    teacher: str | None
    train: str | None
    dev: str | None
    stages: tuple[Stage, ...]
    teacher_stages: tuple[Stage, ...] = ()
    compare_undistilled: bool = False
    undistilled: OptimizerConfig = OptimizerConfig()
    augmented: str | None = None
    augment: AugmentConfig | None = None
    train_questions: int | None = None
    dev_questions: int | None = None
    hold_out_questions: float = 0.0
    eval_every: int | None = None
    keep: Literal["best", "last"] = "last"
    patience: int | None = None
    windows: WindowConfig = WindowConfig()
    answers: AnswerConfig = AnswerConfig()
    buckets: tuple[int, ...] = ()
    eval_batch_size: int = 32
    dtype: Dtype | Literal["auto"] = "auto"
    teacher_cache: Literal["off", "float16", "float32"] = "float32"
    shard_teacher: bool = False
    more_teachers: tuple[str, ...] = ()
    seed: int = 0
    checkpoint_every: int = 500
    log_every: int = 50
    skip_bad_updates: int = 0
    cache: Path = field(default_factory=default_cache)
    synthetic: SyntheticTask | None = None
    student_from_teacher: str | None = None
    student_width: int | None = None
    student_heads: int | None = None
    student_positions: int | None = None
    trim_vocabulary: bool = False
    corpus: tuple[str, ...] = ()
    corpus_column: str = "text"

    def __post_init__(self) -> None:
        check_choices(self)
        check_numbers(self)
        least = {"train_questions": 1, "dev_questions": 1, "eval_every": 1, "patience": 1, "seed": 0}
        check_least(self, **least, eval_batch_size=1, checkpoint_every=1, log_every=1, skip_bad_updates=0)
        rising = all(shorter < longer for shorter, longer in itertools.pairwise((0, *self.buckets)))
        check("buckets", self.buckets, rising, "positive, increasing lengths")
        self._check_held_out()
        if self.skip_bad_updates and any(stage.accumulate > 1 for stage in (*self.teacher_stages, *self.stages)):
            raise UserError(
                f"skip_bad_updates {self.skip_bad_updates} leaves single batches out, and a stage accumulates several "
                "into an update: leave it out, or accumulate"
            )
        self._check_student()
        self._check_corpus()
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

    def _check_corpus(self) -> None:
        if not self.corpus:
            if self.train is None or self.dev is None:
                raise UserError("a recipe needs train and dev, or else a corpus: give --train and --dev, or --corpus")
            return
        of_questions = "train", "dev", "augmented", "augment", "train_questions", "hold_out_questions", "more_teachers"
        for name in (*of_questions, "teacher_stages", "compare_undistilled", "synthetic", "trim_vocabulary"):
            if getattr(self, name):
                raise UserError(f"a corpus has no questions, and {name} needs some: leave out {name}, or the corpus")
        for stage in self.stages:
            if stage.objective.trains_answers:
                raise UserError(
                    f"a corpus has no questions, and {stage.objective.tag} trains to answer them: give stages that "
                    "compare states alone, as intermediate does"
                )

    def _check_held_out(self) -> None:
        share = self.hold_out_questions
        check("hold_out_questions", share, 0 <= share < 1, "a share of the articles, in [0, 1)")
        if self.eval_every is None:
            wanting = {"hold_out_questions": share > 0, "keep": self.keep == "best", "patience": self.patience}
            for name in (name for name, given in wanting.items() if given):
                raise UserError(f"{name} {getattr(self, name)} needs scores on held-out questions: give eval_every too")
        elif not share:
            raise UserError(
                f"eval_every {self.eval_every} scores on questions held out of training: give hold_out_questions, "
                "0.05 say, the share of the articles"
            )
        elif not any(stage.objective.trains_answers for stage in (*self.teacher_stages, *self.stages)):
            raise UserError(f"eval_every {self.eval_every} scores answers: it needs a stage that trains to answer")
        if share and self.augmented is not None:
            raise UserError(
                f"hold_out_questions {share} cannot be taken out of augmented copies that are there already, got "
                f"augmented {self.augmented}: leave it out, and give augment, which makes copies of what is left"
            )

    def _check_student(self) -> None:
        layers = self.student_from_teacher
        if layers is not None and self.teacher is None:
            raise UserError(f"student_from_teacher {layers} needs a teacher, got none: give --teacher")
        for name in ("student_width", "student_heads", "student_positions"):
            value = getattr(self, name)
            if value is not None and layers is None:
                raise UserError(
                    f"{name} {value} shapes a student that is made of its teacher: give student_from_teacher"
                )

    @property
    def asks_for_copies(self) -> bool:
        """Whether a stage trains on augmented data."""
        return any(stage.augmented for stage in (*self.teacher_stages, *self.stages))

    @property
    def batch_lengths(self) -> tuple[int, ...]:
        """The lengths that batches are padded to, in tokens."""
        return self.buckets or default_buckets(self.windows.max_seq_len)


def with_preset(recipe: Recipe, preset: Preset) -> Recipe:
    """The recipe with a preset's objectives, update rule and dropout in the student's stages, and its augmentation.

    All else stays: rates, lengths, the teacher's stages; a recipe that augments nothing still does not.
    """

    def changed(stage: Stage) -> Stage:
        objective = preset.objectives.get(stage.objective.tag, stage.objective)
        dropout = preset.dropout if objective.uses_teacher else stage.dropout
        return dataclasses.replace(stage, objective=objective, rule=preset.rule, dropout=dropout)

    return dataclasses.replace(
        recipe,
        stages=tuple(map(changed, recipe.stages)),
        undistilled=dataclasses.replace(recipe.undistilled, rule=preset.rule),
        augment=recipe.augment and dataclasses.replace(recipe.augment, rules=preset.augment),
    )

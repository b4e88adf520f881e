"""The recipes that `train.py` takes by name; every figure in them is a flag."""

import dataclasses

from tinybert_jax.augment.rules import AugmentConfig
from tinybert_jax.data.windows import WindowConfig
from tinybert_jax.distill import Finetune, Intermediate, OptimizerConfig, Prediction
from tinybert_jax.model import BertConfig
from tinybert_jax.run.presets import HAYSTACK, PAPER, RECOMMENDED
from tinybert_jax.run.recipe import Recipe, Stage, with_preset
from tinybert_jax.synthetic.generate import SyntheticConfig
from tinybert_jax.synthetic.task import SyntheticTask

# SQuAD's windows padded to these take 11% more operations than their tokens need; to the four default lengths 22%, to
# 384 alone 134%.
_FINE_BUCKETS = (96, 128, 160, 192, 224, 256, 320, 384)
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
    recipe = Recipe(
        name="quickstart",
        student="synthetic/student",
        teacher="synthetic/teacher",
        train="synthetic/train.json",
        dev="synthetic/dev.json",
        teacher_stages=(Stage(objective=Finetune(), batch_size=32, max_steps=900, learning_rate=2.5e-3),),
        stages=(
            Stage(objective=Intermediate(), batch_size=32, max_steps=250, learning_rate=6e-3),
            Stage(objective=Prediction(), batch_size=32, max_steps=200, learning_rate=2e-3),
        ),
        compare_undistilled=True,
        undistilled=OptimizerConfig(learning_rate=3e-3),
        windows=WindowConfig(max_seq_len=80, doc_stride=16),
        buckets=(64, 80),
        synthetic=SyntheticTask(SyntheticConfig(), teacher, student, vocab_size=1600),
    )
    return with_preset(recipe, RECOMMENDED)


def tinybert_6l_768d_squad2() -> Recipe:
    """The recipe of the model card deepset/tinybert-6l-768d-squad2: its figures, and haystack's meaning of them.

    `python train.py tinybert-6l-768d-squad2 --augment.glove glove.42B.300d.zip --output runs/tinybert-6l`

    Published: 71.88 EM / 76.36 F1 on SQuAD 2.0 dev (73.82 / 77.17 by the hub's evaluator). Not run here. The training
    set is augmented 20 times for stage 1, as there; without GloVe's vectors, words of several pieces stay. Padding
    counts in haystack's means, so every batch is padded to 384; `--preset recommended --buckets 128 192 256 384` takes
    about half of the time, and its means do not.
    """
    recipe = Recipe(
        name="tinybert-6l-768d-squad2",
        student="huawei-noah/TinyBERT_General_6L_768D",
        teacher="deepset/bert-base-uncased-squad2",
        # The card's batch, epochs and rates; haystack's default warm-up.
        stages=(
            Stage(objective=Intermediate(), epochs=5, batch_size=26, learning_rate=5e-5, warmup=0.2, augmented=True),
            Stage(objective=Prediction(), epochs=5, batch_size=26, learning_rate=3e-5, warmup=0.2),
        ),
        augment=AugmentConfig(copies=20),
        windows=WindowConfig(stride_means="step"),
        buckets=(384,),
        dtype="float32",  # as there
        train=_SQUAD_2_TRAIN,
        dev=_SQUAD_2_DEV,
    )
    return with_preset(recipe, HAYSTACK)


def tinybert_6l_768d_squad2_paper() -> Recipe:
    """TinyBERT6 as the paper defines it: attention scores, learnt projections, means over the text's tokens.

    `python train.py tinybert-6l-768d-squad2-paper --augment.glove glove.42B.300d.zip --output runs/tinybert-6l-paper`

    Published: 74.7 EM / 77.7 F1 on SQuAD 2.0 dev (Jiao et al. 2020). Not run here. Rates, batch and epochs are those
    of the recipe above, as the paper's for SQuAD are not all given.
    """
    card = tinybert_6l_768d_squad2()
    recipe = dataclasses.replace(card, name=f"{card.name}-paper", windows=WindowConfig(), buckets=_FINE_BUCKETS)
    return with_preset(recipe, PAPER)


def tinybert_4l_312d_squad2() -> Recipe:
    """TinyBERT4, an eighth of its teacher: 4 layers, 312 wide, through trained projections.

    `python train.py tinybert-4l-312d-squad2 --augment.glove glove.42B.300d.zip --output runs/tinybert-4l`

    Published: 68.2 EM / 71.8 F1 on SQuAD 2.0 dev (Jiao et al. 2020). Not run here. Rates, batch and epochs are those
    of the six layers' recipe.
    """
    recipe = dataclasses.replace(
        tinybert_6l_768d_squad2(),
        name="tinybert-4l-312d-squad2",
        student="huawei-noah/TinyBERT_General_4L_312D",
        windows=WindowConfig(),
        buckets=_FINE_BUCKETS,
        dtype="auto",
    )
    return with_preset(recipe, RECOMMENDED)


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


def general_distillation() -> Recipe:
    """Attention and hidden states on plain text, before any task: what a student needs that was not pre-trained.

    `python train.py general-distillation --corpus texts/ --teacher MODEL --student-from-teacher 6 --output runs/gd`

    The published general distillation (Jiao et al. 2020) learns from BERT-base on English Wikipedia for three epochs,
    in rows of 128 tokens; batch, rate and warm-up are those of its released code. Not run here on that.
    """
    recipe = Recipe(
        name="general-distillation",
        student="huawei-noah/TinyBERT_General_6L_768D",
        teacher="google-bert/bert-base-uncased",
        train=None,
        dev=None,
        corpus=("wikimedia/wikipedia/20231101.en:train",),
        stages=(Stage(objective=Intermediate(), epochs=3, batch_size=32, learning_rate=5e-5, warmup=0.1),),
        windows=WindowConfig(max_seq_len=128, doc_stride=32),
        buckets=(128,),
    )
    return with_preset(recipe, PAPER)


def minilm_3l_squad2() -> Recipe:
    """Six layers to three on real text, small enough for a CPU: the student is made of half of its teacher's layers.

    `python train.py minilm-3l-squad2 --teacher FOLDER --train TRAIN.json.gz --dev DEV.json.gz --output runs/minilm`

    The teacher is fine-tuned first, whatever it has learnt already: for one that answers as it should, take
    half-of-teacher. Measured with questions of windows up to 128 tokens alone, a teacher that was fine-tuned before,
    and 500 steps of stage 1: docs/quality.md. Another student: `--student-from-teacher None --student FOLDER`.
    """
    encoder = "sentence-transformers/all-MiniLM-L6-v2"
    recipe = Recipe(
        name="minilm-3l-squad2",
        student=encoder,
        teacher=encoder,
        student_from_teacher="3",
        teacher_stages=(Stage(objective=Finetune(), epochs=2, batch_size=16, learning_rate=1e-4),),
        stages=(
            Stage(objective=Intermediate(), epochs=1, batch_size=16, learning_rate=1e-3),
            Stage(objective=Prediction(), epochs=1, batch_size=16, learning_rate=4e-4),
        ),
        compare_undistilled=True,
        undistilled=OptimizerConfig(learning_rate=2e-4),
        windows=WindowConfig(max_seq_len=256, doc_stride=96),
        buckets=(128, 160, 192, 256),
        train_questions=24_000,
        dev_questions=4_000,
        train=_SQUAD_2_TRAIN,
        dev=_SQUAD_2_DEV,
    )
    return with_preset(recipe, RECOMMENDED)


def half_of_teacher() -> Recipe:
    """A question-answering model of your own, made half as deep on your data: every second layer of it, distilled.

    `python train.py half-of-teacher --teacher MODEL --train train.json --dev dev.json --output runs/half`

    Not run here as it stands. Its rates suit teachers as wide as BERT-base. One 384 wide took 1e-3 and 4e-4, as in
    minilm-3l-squad2, on 24,000 questions, each seen once (docs/quality.md): `--stages.0.learning-rate 1e-3
    --stages.1.learning-rate 4e-4`. Few questions may need more passes, `--stages.1.epochs 3` say. Questions without
    labels will do.
    """
    minilm = minilm_3l_squad2()
    stages = zip(minilm.stages, (3e-4, 1e-4), strict=True)
    return dataclasses.replace(
        minilm,
        name="half-of-teacher",
        teacher="deepset/minilm-uncased-squad2",
        student_from_teacher="half",
        teacher_stages=(),
        stages=tuple(dataclasses.replace(stage, learning_rate=rate) for stage, rate in stages),
        compare_undistilled=False,
        windows=WindowConfig(),
        buckets=(),  # the defaults follow --windows.max-seq-len
        train_questions=None,
        dev_questions=None,
    )


RECIPES = {
    recipe().name: recipe
    for recipe in (
        quickstart,
        tinybert_6l_768d_squad2,
        tinybert_6l_768d_squad2_paper,
        tinybert_4l_312d_squad2,
        minilm_3l_squad2,
        half_of_teacher,
        finetune_teacher,
        general_distillation,
    )
}

"""From a recipe to what training needs, every mistake found before the first step."""

import dataclasses
import warnings
from pathlib import Path
from typing import Any, NamedTuple

from tinybert_jax.augment.candidates import Candidates, load_masked_lm
from tinybert_jax.augment.pipeline import augmented_file
from tinybert_jax.data import Dataset, WindowConfig, load_tokenizer, read_dataset, read_squad
from tinybert_jax.data.corpus import load_corpus
from tinybert_jax.data.corpus_text import CorpusText
from tinybert_jax.data.dataset import sample, window_dataset
from tinybert_jax.data.sources import reader_of
from tinybert_jax.data.squad_writer import paragraphs_of
from tinybert_jax.data.tokenizer import bare_backend, check_ids_fit, text_rules
from tinybert_jax.data.vocabulary import trim_tokenizer, used_tokens
from tinybert_jax.errors import UserError
from tinybert_jax.inference.memory import check_scored_batch, check_trained_batch
from tinybert_jax.model import Model, load_pretrained, load_qa_model, trim_vocabulary
from tinybert_jax.model.pretrained import MissingHeadWarning, load_stored
from tinybert_jax.processes import in_turn
from tinybert_jax.run.dtype import with_dtype
from tinybert_jax.run.folder import SYNTHETIC_FOLDER
from tinybert_jax.run.held_out import hold_out
from tinybert_jax.run.recipe import Recipe, Stage
from tinybert_jax.run.student import student_of, student_source
from tinybert_jax.synthetic.task import write_task


class Ingredients(NamedTuple):
    """All that a recipe names, loaded and checked against each other."""

    student: Model
    teacher: Model | None
    tokenizer: Any
    train: Dataset
    augmented: Dataset
    dev: Dataset | None
    more_teachers: tuple[Model, ...] = ()
    held_out: Dataset | None = None  # of `train`'s articles those whose questions the recipe holds out; a corpus' rows
    candidates: Candidates | None = None  # of the words of `train`, where the recipe augments it
    has_span_head: bool = True  # the student's checkpoint; without, what is exported is an encoder

    def data_of(self, stage: Stage) -> Dataset:
        """The data set of a stage."""
        return self.augmented if stage.augmented else self.train


def prepare(recipe: Recipe, output: Path) -> Ingredients:
    """Loads models and data and checks that they fit each other and the recipe.

    Raises:
        UserError: something is missing, malformed or does not fit.
    """
    recipe = with_dtype(recipe, output)
    if recipe.augmented is not None and not recipe.asks_for_copies:
        raise UserError(
            f"augmented {recipe.augmented} would be read by no stage: have one train on it, --stages.0.augmented "
            "say, or leave it out"
        )
    if recipe.synthetic is not None:
        folder, task = output / SYNTHETIC_FOLDER, recipe.synthetic
        in_turn(lambda: write_task(task, recipe.seed, folder))
        paths = {name: str(folder / name) for name in ("teacher", "student")}
        recipe = dataclasses.replace(recipe, train=str(folder / "train.json"), dev=str(folder / "dev.json"), **paths)
    for data in filter(None, (recipe.train, recipe.dev, recipe.augmented)):
        reader_of(data)  # a misspelt name is told before models are loaded and data tokenised
    source = student_source(recipe)
    tokenizer = load_tokenizer(source)
    for name in (recipe.teacher, *recipe.more_teachers):
        if name is not None and name != source:
            _check_same_vocabulary(source, tokenizer, name, load_tokenizer(name))
    teacher = None if recipe.teacher is None else _load_model(recipe.teacher, recipe, tokenizer)
    student = student_of(recipe, teacher) or _load_model(recipe.student, recipe, tokenizer)
    more_teachers = tuple(_load_model(name, recipe, tokenizer) for name in recipe.more_teachers)
    if teacher is not None:
        for stage in recipe.stages:
            stage.objective.check(student.config, teacher.config)
    _check_batches(recipe, student, teacher)
    settings = tokenizer, recipe.windows, recipe.cache
    train, held_out = _read_training_data(recipe, settings)
    dev = recipe.dev and read_dataset(recipe.dev, *settings, recipe.dev_questions, recipe.seed)
    augmented = train if recipe.augmented is None else read_dataset(recipe.augmented, *settings)
    ingredients = Ingredients(student, teacher, tokenizer, train, augmented, dev or None, more_teachers, held_out)
    if recipe.corpus:
        ingredients = ingredients._replace(has_span_head="qa_outputs" in load_stored(source).params)
    if recipe.trim_vocabulary:
        ingredients = _with_trimmed_vocabulary(ingredients, recipe)
    if recipe.augment and recipe.augmented is None and recipe.asks_for_copies:
        lm = load_masked_lm(recipe.augment.model)
        paragraphs = list(paragraphs_of(train.examples))
        ingredients = ingredients._replace(candidates=Candidates(paragraphs, lm, recipe.augment, recipe.cache))
    return ingredients


def _check_batches(recipe: Recipe, student: Model, teacher: Model | None) -> None:
    """Refuses batches that no memory holds; where they fit only just, `--dry-run` says."""
    shortest = min(recipe.batch_lengths)
    check_scored_batch("eval_batch_size", recipe.eval_batch_size, shortest)
    for name, stages, model in (("teacher_stages", recipe.teacher_stages, teacher), ("stages", recipe.stages, student)):
        for number, stage in enumerate(stages):
            config = (model or student).config
            check_trained_batch(f"{name}.{number}.batch_size", stage.batch_size, shortest, config)


def augment_training_data(recipe: Recipe, ingredients: Ingredients) -> Ingredients:
    """The ingredients with the augmented data that the recipe asks for, made where the cache does not hold it.

    Raises:
        UserError: the data cannot be augmented, as `Candidates.compute` says.
    """
    if ingredients.candidates is None:
        return ingredients
    path = augmented_file(ingredients.candidates, recipe.cache)
    augmented = read_dataset(str(path), ingredients.tokenizer, recipe.windows, recipe.cache)
    return ingredients._replace(augmented=augmented, candidates=None)


def _read_training_data(recipe: Recipe, settings: tuple[Any, WindowConfig, Path]) -> tuple[Dataset, Dataset | None]:
    """What is trained on, and what is held out of it."""
    if recipe.train is None:
        tokenizer, windows, cache = settings
        text = CorpusText(recipe.corpus, recipe.corpus_column)
        corpus = load_corpus(text, tokenizer, windows.max_seq_len, cache)
        return Dataset((), corpus.train, corpus.key), Dataset((), corpus.held_out, corpus.key)
    if not recipe.hold_out_questions:
        return read_dataset(recipe.train, *settings, recipe.train_questions, recipe.seed), None
    examples = sample(read_squad(recipe.train), recipe.train_questions, recipe.seed)
    left, held_out = hold_out(examples, recipe.hold_out_questions, recipe.seed)
    return window_dataset(left, *settings), window_dataset(held_out, *settings)


def _with_trimmed_vocabulary(ingredients: Ingredients, recipe: Recipe) -> Ingredients:
    """All models and data in the tokens that the training data uses; of that data, they are the same ones."""
    student, teacher, more = ingredients.student, ingredients.teacher, ingredients.more_teachers
    lowest = max(model.config.pad_token_id for model in (student, teacher or student, *more))
    used = {*range(lowest + 1)}  # a RoBERTa counts positions from padding's id: it has to stay
    for data in (ingredients.train, ingredients.augmented):
        used |= used_tokens(data.windows)
    tokenizer, kept = trim_tokenizer(ingredients.tokenizer, used)

    def cut(data: Dataset) -> Dataset:
        return window_dataset(data.examples, tokenizer, recipe.windows, recipe.cache)

    train = cut(ingredients.train)
    return ingredients._replace(
        student=trim_vocabulary(student, kept),
        teacher=teacher and trim_vocabulary(teacher, kept),
        tokenizer=tokenizer,
        train=train,
        augmented=train if ingredients.augmented is ingredients.train else cut(ingredients.augmented),
        dev=ingredients.dev and cut(ingredients.dev),
        more_teachers=tuple(trim_vocabulary(model, kept) for model in more),
        held_out=ingredients.held_out and cut(ingredients.held_out),
    )


def _load_model(name: str, recipe: Recipe, tokenizer: Any) -> Model:
    is_trained = name in recipe.more_teachers or (name == recipe.teacher and not recipe.teacher_stages)
    with warnings.catch_warnings():
        if recipe.corpus:  # whose stages read no head: a random one does no harm, and is not exported
            warnings.simplefilter("ignore", MissingHeadWarning)
        must_answer = is_trained and not recipe.corpus
        model = load_qa_model(name) if must_answer else Model(*load_pretrained(name, seed=recipe.seed))
    config = model.config
    check_ids_fit(name, tokenizer, config.vocab_size)
    if recipe.windows.max_seq_len > config.max_positions:
        raise UserError(
            f"{name}: max_seq_len {recipe.windows.max_seq_len} is over the model's "
            f"{config.max_positions} positions: lower --windows.max-seq-len"
        )
    return model._replace(config=dataclasses.replace(config, dtype=recipe.dtype))


def _check_same_vocabulary(student_name: str, student: Any, teacher_name: str, teacher: Any) -> None:
    ours, theirs = student.get_vocab(), teacher.get_vocab()
    if ours != theirs:
        differing = sorted(ours.items() ^ theirs.items())[:3]
        raise UserError(
            f"teacher and student must share one vocabulary, got {len(theirs)} tokens in {teacher_name} and "
            f"{len(ours)} in {student_name}, different in {differing} …: choose a pair that has one tokenizer"
        )
    ours, theirs = (bare_backend(tokenizer).encode("a", "b").tokens for tokenizer in (student, teacher))
    if ours != theirs:
        raise UserError(
            f"teacher {teacher_name} and student {student_name} must join a question and a text alike, got "
            f"{' '.join(theirs)} and {' '.join(ours)} for 'a' and 'b'"
        )
    ours, theirs = text_rules(student), text_rules(teacher)
    for part in ours:
        if ours[part] != theirs[part]:
            raise UserError(
                f"teacher {teacher_name} and student {student_name} must treat case, accents and spaces alike, got "
                f"{part} {theirs[part]} and {ours[part]}"
            )

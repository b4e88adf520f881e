import dataclasses
import json
import shutil

import pytest

from tests.data.multilingual import write_unigram
from tinybert_jax import train
from tinybert_jax.augment import pipeline
from tinybert_jax.augment.candidates import Candidates
from tinybert_jax.data import read_squad
from tinybert_jax.data.squad_writer import write_squad
from tinybert_jax.distill import Finetune
from tinybert_jax.errors import UserError
from tinybert_jax.model import BertForQuestionAnswering, save_pretrained
from tinybert_jax.run import dtype
from tinybert_jax.run.prepare import augment_training_data, prepare
from tinybert_jax.run.presets import PRESETS

HAYSTACK = PRESETS["haystack"].augment

pytestmark = [
    pytest.mark.usefixtures("quick_runs"),
    pytest.mark.filterwarnings("ignore:no GloVe vectors were given"),
    pytest.mark.filterwarnings("ignore:.* has no question-answering head"),
]


@pytest.fixture
def recipe(augmenting_recipe):
    return augmenting_recipe


def test_a_recipe_augments_by_itself(recipe, tmp_path, paragraphs):
    results = train.train(recipe, tmp_path / "run")
    assert set(results["student"]) == {"exact", "f1"}
    (arrow,) = (tmp_path / "cache" / "augmented").glob("*/copies.arrow")
    augmented = read_squad(arrow)
    assert len(augmented) > 3 * len(read_squad(recipe.train))
    ingredients = augment_training_data(recipe, prepare(recipe, tmp_path / "run"))
    assert set(ingredients.augmented.windows.example) == set(range(len(augmented)))
    assert list(ingredients.augmented.examples) == list(augmented)
    assert len(ingredients.train.examples) == len(read_squad(recipe.train))


def test_the_dtype_that_a_recipe_leaves_open_is_decided(recipe, tmp_path, monkeypatch):
    monkeypatch.setattr(dtype, "bfloat16_gain", lambda: 4.0)
    ingredients = prepare(dataclasses.replace(recipe, dtype="auto"), tmp_path / "run")
    assert {ingredients.student.config.dtype, ingredients.teacher.config.dtype} == {"bfloat16"}


@pytest.mark.parametrize("field", ["train", "dev", "augmented"])
def test_data_that_do_not_exist_are_told_before_models_are_loaded(recipe, tmp_path, field):
    wrong = dataclasses.replace(recipe, teacher=str(tmp_path), student=str(tmp_path), **{field: "missing.json"})
    with pytest.raises(UserError, match=r"missing\.json does not exist"):
        prepare(wrong, tmp_path / "run")


@pytest.mark.parametrize("field", ["eval_batch_size", "stages.1.batch_size"])
def test_a_batch_that_no_memory_holds_is_refused(recipe, tmp_path, field):
    huge = {field.split(".")[-1]: 2**31 - 1}
    if field.startswith("stages"):
        huge = {"stages": (recipe.stages[0], dataclasses.replace(recipe.stages[1], **huge))}
    with pytest.raises(
        UserError, match=f"{field} must be at most .* bytes or more, and the devices have .* got 2147483647"
    ):
        prepare(dataclasses.replace(recipe, **huge), tmp_path / "run")


def test_stage_0_happens_once(recipe, tmp_path, monkeypatch):
    first = augment_training_data(recipe, prepare(recipe, tmp_path / "run"))
    monkeypatch.setattr(pipeline, "write_copies", lambda *_: pytest.fail("drawn again"))
    again = augment_training_data(recipe, prepare(recipe, tmp_path / "run"))
    assert again.augmented.key == first.augmented.key
    assert again.augmented.windows.tokens.tolist() == first.augmented.windows.tokens.tolist()


def test_other_copies_come_from_the_same_candidates(recipe, tmp_path, monkeypatch):
    augment_training_data(recipe, prepare(recipe, tmp_path / "run"))
    for change in ({"seed": 1}, {"copies": 2}, {"probability": 0.9}):
        changed = dataclasses.replace(recipe, augment=dataclasses.replace(recipe.augment, **change))
        augment_training_data(changed, prepare(changed, tmp_path / "run"))
    caches = [list((tmp_path / "cache" / name).iterdir()) for name in ("augmented", "candidates")]
    assert [len(paths) for paths in caches] == [4, 1]


def test_data_given_as_augmented_is_taken_instead(recipe, tmp_path, monkeypatch):
    monkeypatch.setattr(Candidates, "compute", lambda _: pytest.fail("augmented all the same"))
    write_squad(tmp_path / "own.arrow", [read_squad(recipe.train)[:2]])
    given = dataclasses.replace(recipe, augmented=str(tmp_path / "own.arrow"))
    ingredients = augment_training_data(given, prepare(given, tmp_path / "run"))
    assert set(ingredients.augmented.windows.example) == {0, 1}
    with pytest.raises(UserError, match=r"augmented .*own.arrow would be read by no stage"):
        prepare(dataclasses.replace(given, stages=recipe.stages[1:]), tmp_path / "run")
    unused = dataclasses.replace(recipe, stages=recipe.stages[1:])
    ingredients = augment_training_data(unused, prepare(unused, tmp_path / "run"))
    assert ingredients.augmented is ingredients.train


def test_a_teacher_s_stage_has_copies_made_too(recipe, tmp_path):
    teacher_stage = dataclasses.replace(recipe.stages[0], objective=Finetune())
    asking = dataclasses.replace(recipe, teacher_stages=(teacher_stage,), stages=recipe.stages[1:])
    assert prepare(asking, tmp_path / "run").candidates is not None


def test_a_token_without_an_embedding_is_refused(recipe, masked_lm, random_params, tmp_path):
    few = max(masked_lm.tokenizer.get_vocab().values())
    config = dataclasses.replace(masked_lm.config, vocab_size=few)
    save_pretrained(tmp_path / "few", config, random_params(BertForQuestionAnswering(config), 0), masked_lm.tokenizer)
    for name in ("student", "teacher"):
        with pytest.raises(UserError, match=f"few: token ids must be below {few}, .* got {few} for"):
            prepare(dataclasses.replace(recipe, **{name: str(tmp_path / "few")}), tmp_path / "run")


def test_pipelines_that_differ_in_any_part_are_refused(recipe, tmp_path):
    shutil.copytree(recipe.student, tmp_path / "other")
    path = tmp_path / "other" / "tokenizer.json"
    content = json.loads(path.read_text())
    content["model"]["max_input_chars_per_word"] = 7
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"spaces alike, got model .*'max_input_chars_per_word': 7"):
        prepare(dataclasses.replace(recipe, teacher=str(tmp_path / "other")), tmp_path / "run")


def test_families_whose_tokenizers_differ_are_refused(recipe, tmp_path):
    write_unigram(tmp_path / "unigram")
    with pytest.raises(UserError, match=r"must share one vocabulary, .*choose a pair that has one tokenizer"):
        prepare(dataclasses.replace(recipe, teacher=str(tmp_path / "unigram")), tmp_path / "run")


def test_a_teacher_that_joins_texts_otherwise_is_refused(recipe, tmp_path):
    """As a RoBERTa of BERT's vocabulary would."""
    shutil.copytree(recipe.student, tmp_path / "other")
    path = tmp_path / "other" / "tokenizer.json"
    content = json.loads(path.read_text())
    sep = {"SpecialToken": {"id": "[SEP]", "type_id": 0}}
    pair = content["post_processor"]["pair"]
    at = next(i for i, piece in enumerate(pair) if piece.get("SpecialToken", {}).get("id") == "[SEP]")
    content["post_processor"]["pair"] = [*pair[:at], sep, *pair[at:]]
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"join .* alike, got \[CLS\] a \[SEP\] \[SEP\] .* and \[CLS\] a \[SEP\] "):
        prepare(dataclasses.replace(recipe, teacher=str(tmp_path / "other")), tmp_path / "run")


def test_a_bad_masked_lm_is_refused_before_anything_is_claimed(recipe, tmp_path):
    bad = dataclasses.replace(recipe, augment=dataclasses.replace(recipe.augment, model=recipe.student, rules=HAYSTACK))
    with pytest.raises(UserError, match="without a masked-LM head"):
        train.train(bad, tmp_path / "run")
    assert not (tmp_path / "run").exists()

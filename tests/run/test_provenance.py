"""What a card is told of the run, and of the models it began with."""

import dataclasses
import json
import platform
import sys
from importlib.metadata import version

import pytest

from tinybert_jax.data import WindowConfig
from tinybert_jax.model import BertConfig
from tinybert_jax.run.provenance import describe, origin
from tinybert_jax.run.recipes import RECIPES

METRICS = {"exact": 50.0, "f1": 60.0, "exact_interval": [49.0, 51.0], "f1_interval": [59.0, 61.0]}


def card_of(folder, front_matter):
    folder.mkdir(exist_ok=True)
    (folder / "README.md").write_text(f"---\n{front_matter}\n---\n# A model\n")
    return str(folder)


@pytest.mark.parametrize(
    ("front_matter", "expected"),
    [
        ("license: mit\nlanguage: en", ("mit", ("en",))),
        ("license: [mit, apache-2.0]\nlanguage: [en, de]", ("mit, apache-2.0", ("en", "de"))),
        ("tags: [bert]", (None, ())),
        ("license: 7\nlanguage:", (None, ())),
        ("license: [unclosed", (None, ())),
        ("- a list", (None, ())),
    ],
)
def test_a_model_s_own_card_says_its_licence_and_languages(tmp_path, front_matter, expected):
    assert origin(card_of(tmp_path, front_matter)) == expected


def test_without_a_card_or_a_model_nothing_is_known(tmp_path):
    assert origin(str(tmp_path)) == origin(str(tmp_path / "none")) == (None, ())


def test_the_card_of_a_hub_model_is_fetched_with_it(hub_server):
    files = {"config.json": b"{}", "model.safetensors": b"", "README.md": b"---\nlicense: mit\n---\n"}
    repo = hub_server.add("ada/tiny", files)
    repo.refs["v1"] = repo.refs["main"]
    hub_server.add("ada/tiny", {"README.md": b"---\nlicense: gpl-3.0\n---\n"})
    assert origin("ada/tiny@v1").licence == "mit"
    hub_server.close()
    assert origin("ada/tiny@v1").licence == "mit"


@pytest.fixture
def output(tmp_path):
    """A run's folder: two stages of the student, one scored meanwhile and once continued."""
    lines = [
        {"stage": "1-intermediate", "step": 100, "loss": 1.0, "steps_per_second": 2.0},
        {"stage": "2-prediction", "step": 50, "loss": 1.0, "steps_per_second": 0.5},
        {"stage": "2-prediction", "step": 50, "held_out_f1": 1.0},
        {"stage": "2-prediction", "step": 100, "loss": 1.0, "steps_per_second": 0.5},
    ]
    folder = tmp_path / "my-run"
    (folder / "student").mkdir(parents=True)
    (folder / "student" / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def shape(layers):
    return BertConfig(num_hidden_layers=layers)


def test_a_card_tells_what_was_run_on_what_and_how_long(tmp_path, output, monkeypatch):
    student = card_of(tmp_path / "student", "license: mit\nlanguage: [en, de]")
    teacher = card_of(tmp_path / "teacher", "license: mit\nlanguage: [de, fr]")
    named = {"student": student, "student_from_teacher": None, "teacher": teacher}
    recipe = dataclasses.replace(RECIPES["minilm-3l-squad2"](), **named, seed=7)
    arguments = ["minilm-3l-squad2", "--student", student, f"--teacher={teacher}", "--seed", "7", "--name", "a b"]
    monkeypatch.setattr(sys, "argv", ["/home/me/train.py", *arguments])
    card = describe(recipe, shape(3), shape(6), METRICS, output)
    assert (card.name, card.student, card.teachers) == ("my-run", student, (teacher,))
    assert (card.licences, card.licence, card.languages) == ({student: "mit", teacher: "mit"}, "mit", ("de",))
    assert card.layer_map == "1 ← 2, 2 ← 4, 3 ← 6"
    assert card.metrics == METRICS
    assert (card.datasets, card.measured_on) == ((recipe.train,), recipe.dev)
    stages = {f"student {number}-{stage.objective.tag}": stage for number, stage in enumerate(recipe.stages, 1)}
    assert card.hyperparameters.keys() == {"teacher 1-finetune", *stages}
    for name, stage in stages.items():
        told = card.hyperparameters[name]
        assert (told["learning_rate"], told["epochs"]) == (stage.learning_rate, stage.epochs)
        assert told["rule.eps"] == stage.rule.eps and "max_steps" not in told
    assert card.facts["Command"] == (
        "`python train.py minilm-3l-squad2 --student student --teacher=teacher --seed 7 --name 'a b'`"
    )
    assert f"Python {platform.python_version()}, tinybert-jax" in card.facts["Versions"]
    assert card.facts["Versions"].endswith(f"transformers {version('transformers')}")
    assert card.facts["Device"].startswith("1 × cpu")
    assert card.facts["Hours of training"] == "0.07"  # 50 s and 200 s
    assert card.facts["Recipe"].startswith("`minilm-3l-squad2`, seed 7")


def test_a_card_tells_how_much_of_the_data_was_used(tmp_path, output):
    folders = {name: card_of(tmp_path / name, "license: mit") for name in ("student", "teacher")}
    whole = dataclasses.replace(RECIPES["tinybert-6l-768d-squad2-paper"](), **folders)
    some = {"train_questions": 24_000, "dev_questions": 4_000, "hold_out_questions": 0.05, "eval_every": 500}
    part = dataclasses.replace(whole, **some, augment=None)
    cards = [describe(recipe, shape(6), shape(12), METRICS | {"total": 4_000}, output) for recipe in (whole, part)]
    assert [card.sampled for card in cards] == [None, 4_000]
    assert describe(part, shape(6), shape(12), METRICS | {"total": 3_000}, output).sampled is None  # there were no more
    augmented = [card.hyperparameters["student 1-intermediate"]["augmented"] for card in cards]
    assert augmented == [True, False]
    told = "at most 24,000 questions, drawn at random, less 0.05 of the articles, held out"
    assert [card.facts.get("Of the training data") for card in cards] == [None, told]


@pytest.mark.parametrize(
    ("means", "told"), [("overlap", "overlapping by 128"), ("step", "each begun after the one before it by 128")]
)
def test_a_card_tells_how_windows_lie_to_each_other(output, means, told):
    recipe = RECIPES["quickstart"]()
    recipe = dataclasses.replace(recipe, windows=WindowConfig(stride_means=means))
    assert describe(recipe, shape(2), shape(4), METRICS, output).facts["Windows"] == f"384 tokens, {told}"


def test_the_installed_command_is_given_as_it_was_typed(output, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["tinybert train", "quickstart", "--output", str(output)])
    card = describe(RECIPES["quickstart"](), shape(2), shape(4), METRICS, output)
    assert card.facts["Command"] == "`tinybert train quickstart --output my-run`"


def test_what_is_generated_is_no_model_or_data_set_of_the_hub(output):
    card = describe(RECIPES["quickstart"](), shape(2), shape(4), METRICS, output)
    assert (card.student, card.teachers) == ("generated student", ("generated teacher",))
    assert (card.licence, card.languages) == ("other", ())
    assert set(card.hyperparameters) == {"teacher 1-finetune", "student 1-intermediate", "student 2-prediction"}
    assert card.datasets == ("generated text",)

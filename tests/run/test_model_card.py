"""The model card: its front matter parses back to the figures, its page says what a reader needs."""

import dataclasses

import pytest
import yaml

from tinybert_jax.run.model_card import ModelCard, write_model_card

CARD = ModelCard(
    name="tinybert-6l",
    student="huawei-noah/TinyBERT_General_6L_768D",
    teachers=("deepset/bert-base-uncased-squad2",),
    recipe="tinybert-6l-768d-squad2",
    layer_map="0, 2, 4, 6, 8, 10, 12",
    training="5 epochs: half of them {braces} & colons.",
    metrics={"exact": 71.87736, "f1": 76.36, "total": 11873},
    measured_on="rajpurkar/squad_v2:validation",
    datasets=("rajpurkar/squad_v2:train", "rajpurkar/squad_v2:validation"),
)


def write(folder, **changes) -> tuple[dict, str]:
    """Writes CARD with changes and returns its front matter, parsed, and its page."""
    write_model_card(folder, dataclasses.replace(CARD, **changes))
    opening, front_matter, body = (folder / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    assert opening == ""
    return yaml.safe_load(front_matter), body


def test_front_matter(tmp_path):
    front_matter, _ = write(tmp_path)
    assert {key: value for key, value in front_matter.items() if key != "model-index"} == {
        "language": "en",
        "license": "apache-2.0",
        "library_name": "transformers",
        "pipeline_tag": "question-answering",
        "tags": ["bert", "tinybert", "knowledge-distillation"],
        "base_model": "huawei-noah/TinyBERT_General_6L_768D",
        "datasets": ["rajpurkar/squad_v2"],
        "metrics": ["exact_match", "f1"],
    }


def test_model_index_holds_the_measured_figures(tmp_path):
    front_matter, _ = write(tmp_path)
    [model] = front_matter["model-index"]
    assert model["name"] == "tinybert-6l"
    [result] = model["results"]
    assert result["task"]["type"] == "question-answering"
    assert result["dataset"] == {
        "name": "rajpurkar/squad_v2",
        "type": "rajpurkar/squad_v2",
        "split": "validation",
    }
    assert [(metric["type"], metric["value"]) for metric in result["metrics"]] == [
        ("exact_match", 71.88),
        ("f1", 76.36),
    ]


def test_the_hub_library_reads_the_figures_back(tmp_path):
    from huggingface_hub import ModelCard as HubCard

    write(tmp_path)
    data = HubCard.load(tmp_path / "README.md").data
    assert {result.metric_type: result.metric_value for result in data.eval_results} == {
        "exact_match": 71.88,
        "f1": 76.36,
    }


def test_page(tmp_path):
    _, body = write(tmp_path)
    assert body.startswith("\n# tinybert-6l\n")
    for text in (
        "distilled from `deepset/bert-base-uncased-squad2`",
        "Layer map: 0, 2, 4, 6, 8, 10, 12",
        "Recipe: `tinybert-6l-768d-squad2`",
        "half of them {braces} & colons.",
        "| 71.88 | 76.36 |",
        'AutoModelForQuestionAnswering.from_pretrained("path/to/model")',
        'tinybert_jax.load_pretrained("path/to/model")',
    ):
        assert text in body


def test_python_on_the_page_compiles(tmp_path):
    _, body = write(tmp_path)
    snippets = [part.split("```")[0] for part in body.split("```python\n")[1:]]
    assert len(snippets) == 2
    for snippet in snippets:
        compile(snippet, "README.md", "exec")


def test_local_paths_stay_private(tmp_path, monkeypatch):
    (tmp_path / "home" / "teacher").mkdir(parents=True)
    (tmp_path / "home" / "train.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    front_matter, body = write(
        tmp_path,
        teachers=(str(tmp_path / "home" / "teacher"), "nobody/second"),
        student="home/teacher",  # looks like a hub id, and is a folder
        datasets=(str(tmp_path / "home" / "train.json"), "home/train.json"),
        measured_on=str(tmp_path / "home" / "train.json"),
    )
    assert "base_model" not in front_matter
    assert "datasets" not in front_matter
    assert front_matter["model-index"][0]["results"][0]["dataset"] == {
        "name": "train.json",
        "type": "train-json",
    }
    assert "distilled from `teacher`, `nobody/second`" in body
    assert "home" not in (tmp_path / "README.md").read_text()


@pytest.mark.parametrize("words", ["2,000 questions of dev-v2.0", 'a "quoted": name # 1', "held-out articles"])
def test_measured_on_words(tmp_path, words):
    front_matter, body = write(tmp_path, measured_on=words)
    dataset = front_matter["model-index"][0]["results"][0]["dataset"]
    assert dataset["name"] == words
    assert " " not in dataset["type"]
    assert f"Measured on {words} with" in body


def test_without_a_teacher(tmp_path):
    front_matter, body = write(tmp_path, teachers=(), layer_map=None, datasets=())
    assert "knowledge-distillation" not in front_matter["tags"]
    assert "It was fine-tuned with" in body
    for absent in ("Teacher", "Layer map", "Training data"):
        assert absent not in body


def test_replaces_the_card_and_leaves_nothing_else(tmp_path):
    write(tmp_path)
    _, body = write(tmp_path, name="second")
    assert body.startswith("\n# second\n")
    assert [path.name for path in tmp_path.iterdir()] == ["README.md"]

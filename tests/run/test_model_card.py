"""The model card: its front matter parses back to the figures, its page says what a reader needs."""

import dataclasses
import json
import re
from types import SimpleNamespace

import numpy as np
import pytest
import yaml

from tests.tiny_run import write_model
from tinybert_jax.model import forward, load_qa_model
from tinybert_jax.run.model_card import ModelCard, write_model_card
from tinybert_jax.synthetic.generate import SyntheticConfig, make_squad

STUDENT, TEACHER = "huawei-noah/TinyBERT_General_6L_768D@v1", "deepset/bert-base-uncased-squad2"
CARD = ModelCard(
    name="tinybert-6l",
    student=STUDENT,
    teachers=(TEACHER,),
    layer_map="0, 2, 4, 6, 8, 10, 12",
    hyperparameters={
        "student 1-intermediate": {"epochs": 5, "learning_rate": 3e-5, "augmented": True},
        "student 2-prediction": {"epochs": 3, "learning_rate": 2e-5, "objective.temperature": 1.0},
    },
    facts={"Recipe": "`tinybert-6l-768d-squad2` {braces}", "Hours of training": "1.25"},
    metrics={
        "exact": 71.87736,
        "f1": 76.36,
        "total": 11873,
        "exact_interval": [71.1, 72.65],
        "f1_interval": [75.6, 77.1],
    },
    measured_on="rajpurkar/squad_v2/squad_v2@main:validation",
    datasets=("rajpurkar/squad_v2@main:train", "rajpurkar/squad_v2:validation"),
    licences={STUDENT: "apache-2.0", TEACHER: "apache-2.0"},
    languages=("en",),
)


def write(folder, **changes) -> tuple[dict, str]:
    """Writes CARD with changes and returns its front matter, parsed, and its page."""
    write_model_card(folder, dataclasses.replace(CARD, **changes))
    opening, front_matter, body = (folder / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    assert opening == ""
    return yaml.safe_load(front_matter), body


def snippets_of(page):
    return [part.split("```")[0] for part in page.split("```python\n")[1:]]


def test_front_matter(tmp_path):
    front_matter, _ = write(tmp_path)
    assert {key: value for key, value in front_matter.items() if key != "model-index"} == {
        "language": ["en"],
        "license": "apache-2.0",
        "library_name": "transformers",
        "pipeline_tag": "question-answering",
        "tags": ["bert", "tinybert", "knowledge-distillation"],
        "base_model": "huawei-noah/TinyBERT_General_6L_768D",
        "datasets": ["rajpurkar/squad_v2"],
        "metrics": ["exact_match", "f1"],
    }


def test_model_index_holds_the_measured_figures_and_their_intervals(tmp_path):
    front_matter, _ = write(tmp_path)
    [model] = front_matter["model-index"]
    assert model["name"] == "tinybert-6l"
    [result] = model["results"]
    assert result["task"]["type"] == "question-answering"
    assert result["dataset"] == {
        "name": "rajpurkar/squad_v2",
        "type": "rajpurkar/squad_v2",
        "config": "squad_v2",
        "revision": "main",
        "split": "validation",
    }
    assert [(metric["type"], metric["value"], metric["name"]) for metric in result["metrics"]] == [
        ("exact_match", 71.88, "Exact Match (95% interval: 71.10 to 72.65)"),
        ("f1", 76.36, "F1 (95% interval: 75.60 to 77.10)"),
    ]


def test_figures_of_a_sample_are_not_told_as_the_whole_s(tmp_path):
    front_matter, body = write(tmp_path, sampled=4000)
    [[metric, _]] = [result["metrics"] for result in front_matter["model-index"][0]["results"]]
    assert metric["name"] == "Exact Match (4,000 questions drawn at random; 95% interval: 71.10 to 72.65)"
    assert "Measured on 4,000 questions drawn at random of rajpurkar/squad_v2/squad_v2@main:validation with" in body


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
        "- Started from: `huawei-noah/TinyBERT_General_6L_768D@v1`",
        "- Layer map: 0, 2, 4, 6, 8, 10, 12",
        "- Recipe: `tinybert-6l-768d-squad2` {braces}",
        "- Hours of training: 1.25",
        "|  | student 1-intermediate | student 2-prediction |\n| --- | --- | --- |\n| `epochs` | 5 | 3 |\n",
        "| `learning_rate` | 3e-05 | 2e-05 |\n| `augmented` | yes | – |\n| `objective.temperature` | – | 1 |\n",
        "| Exact Match | 71.88 | 71.10 to 72.65 |",
        "| F1 | 76.36 | 75.60 to 77.10 |",
        'AutoModelForQuestionAnswering.from_pretrained("path/to/model")',
        'Answerer.load("path/to/model")("Who wrote it?", "It was written by Ada.")',
        "`apache-2.0`, that of what it was made from: ",
    ):
        assert text in body


@pytest.mark.parametrize(
    ("licences", "licence", "sentence"),
    [
        ({STUDENT: "mit"}, "mit", f"`mit`, that of what it was made from: `{STUDENT}` is under `mit`."),
        ({STUDENT: None}, "other", f"`other`, since .*: the card of `{STUDENT}` states none"),
        ({STUDENT: "mit", TEACHER: None}, "other", f"`{STUDENT}` is under `mit`; the card of `{TEACHER}` states none"),
        ({STUDENT: None, TEACHER: None}, "other", f"the card of `{STUDENT}` states none; the card of `{TEACHER}` "),
        (
            {STUDENT: "mit", TEACHER: "apache-2.0"},
            "other",
            f"`{STUDENT}` is under `mit`; `{TEACHER}` is under `apache-2.0`",
        ),
        ({STUDENT: "other", TEACHER: "other"}, "other", f"`other`, since .* `{STUDENT}` is under `other`"),
    ],
)
def test_a_licence_is_that_of_all_it_was_made_from_or_other(tmp_path, licences, licence, sentence):
    front_matter, body = write(tmp_path, licences=licences)
    assert front_matter["license"] == licence
    [line] = [line for line in body.splitlines() if STUDENT in line and ("under" in line or "none" in line)]
    assert re.search(sentence, line)


def test_without_known_languages_the_card_states_none(tmp_path):
    assert "language" not in write(tmp_path, languages=())[0]


def test_python_on_the_page_compiles(tmp_path):
    _, body = write(tmp_path)
    snippets = snippets_of(body)
    assert len(snippets) == 2
    for snippet in snippets:
        compile(snippet, "README.md", "exec")


def test_local_paths_stay_private(tmp_path, monkeypatch):
    (tmp_path / "home" / "teacher").mkdir(parents=True)
    (tmp_path / "home" / "train.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    teacher = str(tmp_path / "home" / "teacher")
    front_matter, body = write(
        tmp_path,
        teachers=(teacher, "nobody/second"),
        student="home/teacher",  # looks like a hub id, and is a folder
        datasets=(str(tmp_path / "home" / "train.json"), "home/train.json"),
        measured_on=str(tmp_path / "home" / "train.json"),
        licences={"home/teacher": None, teacher: None},
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
    for absent in ("- Teacher", "Layer map", "Training data"):
        assert absent not in body


def test_replaces_the_card_and_leaves_nothing_else(tmp_path):
    write(tmp_path)
    _, body = write(tmp_path, name="second")
    assert body.startswith("\n# second\n")
    assert [path.name for path in tmp_path.iterdir()] == ["README.md"]


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A folder as a run exports it, the model with random weights; and a passage of its words."""
    folder = tmp_path_factory.mktemp("run") / "export"
    data, _ = make_squad(SyntheticConfig(train_articles=2, dev_articles=1, paragraphs_per_article=1))
    write_model(folder, data, seed=0)
    write_model_card(folder, CARD)
    return folder, data["data"][0]["paragraphs"][0]["context"]


def best_span(logits, offsets, in_context, context):
    """By hand: every pair of a start and an end in the context, at most 30 tokens apart."""
    start, end = np.asarray(logits[0]), np.asarray(logits[1])
    tokens = np.flatnonzero(in_context)
    pairs = [(start[i] + end[j], i, j) for i in tokens for j in tokens if i <= j < i + 30]
    _, first, last = max(pairs)
    return context[offsets[first][0] : offsets[last][1]]


@pytest.mark.parametrize("times", [1, 20])
def test_the_snippet_for_transformers_gives_the_best_span_verbatim(exported, times, capsys):
    pytest.importorskip("torch")
    from transformers import AutoTokenizer

    folder, passage = exported
    context = "  ".join([passage] * times)  # two spaces: no decoder of tokens would give them back
    snippet = snippets_of((folder / "README.md").read_text(encoding="utf-8"))[0]
    assert '"It was written by Ada."' in snippet
    exec(snippet.replace("path/to/model", str(folder)).replace('"It was written by Ada."', json.dumps(context)), {})
    said = capsys.readouterr().out.removesuffix("\n")
    model, tokenizer = load_qa_model(str(folder)), AutoTokenizer.from_pretrained(folder)
    assert tokenizer.model_max_length == model.config.max_positions == 128
    rows = tokenizer(
        "Who wrote it?", context, truncation="only_second", return_offsets_mapping=True, return_tensors="np"
    )
    batch = SimpleNamespace(**{**rows, "attention_mask": rows["attention_mask"] > 0})
    logits = forward(model.network, model.params, batch).logits[0].T
    in_context = [part == 1 for part in rows.sequence_ids(0)]
    expected = best_span(logits, rows["offset_mapping"][0], in_context, context)
    assert said == expected and said in context

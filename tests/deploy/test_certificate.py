"""Certificates of small models whose weights are random, on questions about a letter or two."""

import json
import shutil

import pytest

from tests.deploy.certified import FIGURES
from tinybert_jax.data import Example
from tinybert_jax.deploy import certificate, measure
from tinybert_jax.deploy.certificate_page import write_table
from tinybert_jax.errors import UserError
from tinybert_jax.evaluate import score_model
from tinybert_jax.model import load_pretrained
from tinybert_jax.store.digests import file_digest
from tinybert_jax.store.files import read_json, write_json

EXPORTS = ("ONNX fp32", "ONNX int8")


@pytest.fixture(scope="module")
def held(certified):
    return read_json(certified / "out" / "certificate.json")


def test_the_rows_are_what_evaluate_says_of_the_very_files(certified, held):
    models = ("teacher", "student", "plain", "out/onnx/model.onnx", "out/onnx/model_int8.onnx")
    assert list(held["models"]) == ["teacher", "student", "undistilled student", *EXPORTS]
    for row, model in zip(held["models"].values(), models, strict=True):
        metrics = score_model(str(certified / model), str(certified / "data.json")).metrics
        assert {name: row[name] for name in FIGURES} == {name: round(metrics[name], 4) for name in FIGURES}
        for name in FIGURES:
            assert row[f"{name}_interval"] == metrics[f"{name}_interval"]
    digests = [row["tokenizer"] for row in held["models"].values()]
    assert digests[0] != digests[1] and len(set(digests[1:])) == 1  # each reads with its own
    assert len({row["f1"] for row in held["models"].values()}) >= 3  # or nothing was told apart


def test_models_are_compared_with_the_teacher_and_the_student(held):
    for label, row in held["models"].items():
        assert list(row["differences"]) == [name for name in ("teacher", "student") if name != label]
        for reference, found in row["differences"].items():
            for name in FIGURES:
                assert found[name]["mean"] == pytest.approx(row[name] - held["models"][reference][name], abs=0.0051)
    assert held["models"]["ONNX fp32"]["differences"]["student"]["f1"]["p"] == 1


def test_sizes_are_those_of_the_files(certified, held):
    params = load_pretrained(certified / "student")[1]
    count = sum(leaf.size for leaf in certificate_leaves(params))
    assert [row["parameters"] for row in held["models"].values()] == [count] * 5
    for label, file in zip(EXPORTS, ("onnx/model.onnx", "onnx/model_int8.onnx"), strict=True):
        row, path = held["models"][label], certified / "out" / file
        assert (row["model"], row["bytes"]) == (file, path.stat().st_size)
        assert row["weights"] == held["files"][file] == file_digest(path)
    assert held["models"]["student"]["bytes"] == (certified / "student" / "model.safetensors").stat().st_size


def certificate_leaves(params):
    for value in params.values():
        yield from certificate_leaves(value) if isinstance(value, dict) else [value]


def test_every_file_but_the_certificate_the_card_and_hidden_ones_is_digested(certified, held):
    files = {
        path.relative_to(certified / "out").as_posix() for path in (certified / "out").rglob("*") if path.is_file()
    }
    assert set(held["files"]) == files - {"certificate.json", "README.md"}
    (certified / "student" / ".cache" / "huggingface").mkdir(parents=True)
    (certified / "student" / ".cache" / "huggingface" / "x.lock").touch()
    assert ".cache/huggingface/x.lock" not in certificate.file_digests(certified / "student")


def test_the_machine_and_what_was_timed_are_named(held):
    assert held["measured_on"] == {**measure.machine(), "timed_questions": 24}
    assert held["measured_on"]["processor"] and held["measured_on"]["threads"] >= 1
    assert {"jax", "onnx", "onnxruntime"} <= set(held["versions"])
    for row in held["models"].values():
        assert 0 < row["latency_ms"]["median"] <= row["latency_ms"]["p95"]


def test_a_hundred_questions_over_all_of_the_data_are_timed(certified):
    examples = certificate.read_questions(str(certified / "data.json"), {}).examples * 10
    asked = measure.timed(examples)
    assert len(asked) == 100
    assert (asked[0], asked[-1]) == (examples[0], examples[-1])


def test_the_card_has_the_table_once_and_keeps_its_own_text(certified, held, tmp_path):
    page = (certified / "out" / "README.md").read_text()
    assert page.startswith("---\npipeline_tag: question-answering\n---\n\n# out\n")
    row = held["models"]["ONNX int8"]
    low, high = row["f1_interval"]
    assert f"{row['f1']:.2f} ({low:.2f} to {high:.2f})" in page
    assert f"24 of them, on {held['measured_on']['processor']}, {held['measured_on']['threads']} threads" in page
    card = tmp_path / "README.md"
    card.write_text("# Mine\n\nBefore \\1.\n")
    write_table(card, held)
    once = card.read_text()
    card.write_text(once + "\nAfter.\n")
    write_table(card, {**held, "measured_on": {**held["measured_on"], "processor": "Another \\g<0>"}})
    assert card.read_text().startswith("# Mine\n\nBefore \\1.\n\n<!-- certificate -->\n## Certificate\n")
    assert card.read_text().count("## Certificate") == 1
    assert "Another \\g<0>" in card.read_text() and card.read_text().endswith("<!-- /certificate -->\n\nAfter.\n")


def test_without_gold_answers_agreement_with_the_teacher_is_measured(certified, tmp_path):
    squad = read_json(certified / "data.json")
    for paragraph in squad["data"][0]["paragraphs"]:
        paragraph["qas"] = [{**qa, "answers": [], "is_impossible": True} for qa in paragraph["qas"]]
    write_json(tmp_path / "bare.json", squad)
    with pytest.raises(UserError, match=r"bare\.json has no gold answer to any question: give a --teacher"):
        certificate.read_questions(str(tmp_path / "bare.json"), {})
    shutil.copytree(certified / "student", tmp_path / "student")
    asked = [Example("a", "q", "c", (), is_labelled=False)]
    assert not certificate.Questions("bare.jsonl", asked).have_golds  # a file of questions alone is no other
    others = {certificate.TEACHER: str(certified / "teacher")}
    questions = certificate.read_questions(str(tmp_path / "bare.json"), others)
    found = certificate.certify(tmp_path / "student", questions, others)
    assert found["data"]["scored_against"] == "the teacher's answers"
    assert found["models"]["teacher"]["exact"] == 100 > found["models"]["student"]["exact"]
    assert "agreement with the teacher's answers" in (tmp_path / "student" / "README.md").read_text()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda held: [], 'it must be a JSON object with "format": 1'),
        (lambda held: {**held, "format": 2}, 'with "format": 1'),
        (lambda held: {k: v for k, v in held.items() if k != "files"}, "it has no 'files'"),
        (lambda held: {**held, "files": {"config.json": 7}}, "it: files: config.json must be of type str, got 7"),
        (lambda held: {**held, "models": {"teacher": {}}}, "it: models: teacher has no 'model'"),
        (lambda held: {**held, "data": {**held["data"], "questions": True}}, "questions must be of type int, got True"),
    ],
    ids=["list", "format", "no files", "digest", "row", "bool"],
)
def test_a_damaged_certificate_says_where(held, tmp_path, change, message):
    write_json(tmp_path / "certificate.json", change(held))
    with pytest.raises(UserError, match=r"certificate\.json is no certificate of ours: ") as caught:
        certificate.read_certificate(tmp_path)
    assert message in str(caught.value)


def test_what_cannot_be_measured_is_refused_first(certified, tmp_path):
    with pytest.raises(UserError, match="must be a folder with a model, and there is none"):
        certificate.models_of(tmp_path / "nowhere", {})
    with pytest.raises(UserError, match=r"holds nothing to measure: one of model\.safetensors, .*onnx/model\.onnx"):
        certificate.models_of(tmp_path, {})
    with pytest.raises(UserError, match="holds the student's weights itself: leave --student x out"):
        certificate.models_of(certified / "student", {certificate.STUDENT: "x"})
    with pytest.raises(UserError, match=r"there is no folder '\./gone'"):
        certificate.read_questions(str(certified / "data.json"), {certificate.TEACHER: "./gone"})
    blank = {"context": " ", "qas": [{"id": "1", "question": "q", "answers": []}]}
    (tmp_path / "blank.json").write_text(json.dumps({"data": [{"paragraphs": [blank]}]}))
    with pytest.raises(UserError, match="must hold a question and a context that are not empty"):
        certificate.read_questions(str(tmp_path / "blank.json"), {})

"""The command `ask` on a small model whose weights are random: what is printed, and what is refused."""

import json
import sys
from pathlib import Path

import jax
import pytest

from tinybert_jax import ask, convert, export
from tinybert_jax.errors import UserError
from tinybert_jax.inference import Answerer, QASettings, write_settings
from tinybert_jax.model import BertConfig, BertForMaskedLM, BertForQuestionAnswering, init_params, save_pretrained
from tinybert_jax.scoring import AnswerConfig

SIZES = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}


@pytest.fixture(autouse=True)
def as_it_is(monkeypatch):
    """The command sets its process up; here that is the tests' own."""
    monkeypatch.setattr("tinybert_jax.run.runtime.configure", lambda: None)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, tokenizer, random_params):
    folder = tmp_path_factory.mktemp("models")
    config = BertConfig(vocab_size=len(tokenizer.get_vocab()), max_position_embeddings=64, **SIZES)
    save_pretrained(folder / "model", config, random_params(BertForQuestionAnswering(config), 0), tokenizer)
    save_pretrained(folder / "encoder", config, init_params(BertForMaskedLM(config), jax.random.key(0)), tokenizer)
    return folder


def run(monkeypatch, capsys, *arguments):
    monkeypatch.setattr(sys, "argv", ["ask", *map(str, arguments)])
    ask.main()
    return capsys.readouterr().out


def test_one_question(folder, monkeypatch, capsys):
    asked = folder / "model", "--question", "who?", "--context", "it was ada.", "--no-answer", "never"
    expected = Answerer.load(folder / "model")
    expected.settings = QASettings(expected.settings.windows, AnswerConfig(no_answer="never"))
    answer = expected("who?", "it was ada.")
    printed = run(monkeypatch, capsys, *asked)
    assert printed.startswith(f"{answer.text}  probability {answer.probability:.2f}, characters {answer.start} to ")
    found = json.loads(run(monkeypatch, capsys, *asked, "--json", "--top-k", "3"))
    assert 1 < len(found) <= 3
    assert found[0] == answer._asdict() | {"passage": ""}


def test_the_threshold_is_the_model_s_unless_given(folder, tmp_path, monkeypatch, capsys):
    convert.convert(str(folder / "model"), tmp_path / "never")
    write_settings(tmp_path / "never", QASettings(answers=AnswerConfig(null_threshold=-1e6)))
    convert.convert(str(tmp_path / "never"), tmp_path / "copy", to="orbax")  # and goes where the model goes
    asked = tmp_path / "copy", "--question", "who?", "--context", "it was ada."
    capsys.readouterr()
    assert run(monkeypatch, capsys, *asked).startswith("(no answer)  probability")
    assert "(no answer)" not in run(monkeypatch, capsys, *asked, "--threshold", "1e6")


def test_an_export_answers_as_the_model_does(folder, tmp_path, monkeypatch, capsys):
    pytest.importorskip("onnxruntime")
    export.export(str(folder / "model"), tmp_path / "onnx_export", int8=True)
    capsys.readouterr()
    asked = "--question", "who?", "--context", "it was ada.", "--json"
    (expected,) = json.loads(run(monkeypatch, capsys, folder / "model", *asked))
    exported = tmp_path / "onnx_export"
    for model in (exported, exported / "onnx" / "model.onnx"):
        (found,) = json.loads(run(monkeypatch, capsys, model, *asked))
        assert (found["text"], found["start"]) == (expected["text"], expected["start"])
        assert found["score"] == pytest.approx(expected["score"], abs=1e-4)
    int8 = exported / "onnx" / "model_int8.onnx"
    (found,) = json.loads(run(monkeypatch, capsys, int8, *asked))
    assert found["score"] != expected["score"]  # its own weights
    (tmp_path / "in.jsonl").write_text(json.dumps({"id": 1, "question": "who?", "context": "it was ada."}) + "\n")
    job = "--jsonl", tmp_path / "in.jsonl", "--output", tmp_path / "out.jsonl"
    run(monkeypatch, capsys, exported / "onnx" / "model_int8.onnx", *job)
    assert json.loads((tmp_path / "out.jsonl").read_text())["score"] == pytest.approx(found["score"])
    with pytest.raises(UserError, match="dtype must be float32 for an exported network, got bfloat16"):
        run(monkeypatch, capsys, exported, *asked, "--dtype", "bfloat16")


def test_files_are_searched_together_and_named(folder, tmp_path, monkeypatch, capsys):
    (tmp_path / "texts" / "deep").mkdir(parents=True)
    for name, text in (("a.txt", "it was ada.\r\n"), ("deep/b.txt", "ﬁ not ß her"), ("empty.txt", " "), ("c.md", "no")):
        (tmp_path / "texts" / name).write_bytes(text.encode())
    asked = folder / "model", "--question", "who?", "--context-file", tmp_path / "texts", "--no-answer", "never"
    found = json.loads(run(monkeypatch, capsys, *asked, "--json", "--top-k", "9"))
    assert {answer["passage"] for answer in found} == {str(tmp_path / "texts" / n) for n in ("a.txt", "deep/b.txt")}
    for answer in found:
        text = Path(answer["passage"]).read_bytes().decode()
        assert text[answer["start"] : answer["end"]] == answer["text"]


def test_a_file_of_questions(folder, tmp_path, monkeypatch, capsys):
    lines = [{"id": i, "question": "who?", "context": "it was ada" + "." * i} for i in range(3)]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + "{\n")
    job = folder / "model", "--jsonl", tmp_path / "in.jsonl", "--output", tmp_path / "out.jsonl"
    with pytest.raises(UserError, match="line 4: not valid JSON"):
        run(monkeypatch, capsys, *job)
    assert [path.name for path in tmp_path.iterdir()] == ["in.jsonl"]
    assert "answers to 4 questions, 1 of them bad" in run(monkeypatch, capsys, *job, "--skip-bad")
    found = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [line["id"] for line in found] == [0, 1, 2, None]
    expected = Answerer.load(folder / "model")("who?", "it was ada..")
    assert (found[2]["text"], found[2]["start"]) == (expected.text, expected.start)
    with pytest.raises(UserError, match=r"out\.jsonl exists already"):
        run(monkeypatch, capsys, *job)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give one of --context TEXT, --context-file FILES and --jsonl FILE"),
        (["--context", "c", "--context-file", "f", "--question", "q"], "and only one"),
        (["--context", "c"], "give a --question"),
        (["--jsonl", "x", "--question", "q", "--output", "y"], "a --jsonl file brings its own"),
        (["--jsonl", "x"], "belong together"),
        (["--context", "c", "--question", "q", "--output", "y"], "belong together"),
        (
            ["--context", "c", "--question", "q", "--skip-bad"],
            "--skip-bad would not be read, as it is about lines",
        ),
        (["--jsonl", "x", "--output", "y", "--json"], "--json would not be read, as the answers to --jsonl are"),
        (
            ["--context", "c", "--question", "q", "--no-answer", "never", "--threshold", "1"],
            '--threshold 1.0 would not be read, as "no answer" is ruled out',
        ),
        (["--context", " ", "--question", "q"], "--context must hold a text"),
        (["--context", "c", "--question", ""], "--question must hold a text"),
        (["--context", "c", "--question", "q", "--top-k", "0"], "--top-k must be at least 1, got 0"),
        (
            ["--context", "c", "--question", "q", "--threshold", "nan"],
            "^threshold must be a finite number",
        ),
        (["--context-file", "missing.txt", "--question", "q"], "cannot read missing.txt"),
        (["--jsonl", "missing.jsonl", "--output", "y"], "cannot read missing.jsonl"),
    ],
)
def test_mistakes_are_one_line(folder, monkeypatch, capsys, arguments, message):
    with pytest.raises(UserError, match=message):
        run(monkeypatch, capsys, folder / "model", *arguments)


def test_files_without_text_are_refused(folder, tmp_path, monkeypatch, capsys):
    (tmp_path / "empty").mkdir()
    (tmp_path / "blank.txt").write_text("\n")
    (tmp_path / "latin.txt").write_bytes("é".encode("latin-1"))
    for path, message in (
        ("empty", r"empty holds no \.txt file"),
        ("blank.txt", r"blank\.txt holds no text"),
        ("latin.txt", r"latin\.txt must be a text in UTF-8"),
    ):
        with pytest.raises(UserError, match=message):
            run(monkeypatch, capsys, folder / "model", "--question", "q", "--context-file", tmp_path / path)


def test_a_model_without_a_trained_head_is_refused(folder, monkeypatch, capsys):
    with pytest.raises(UserError, match="without a question-answering head"):
        run(monkeypatch, capsys, folder / "encoder", "--question", "q", "--context", "c")

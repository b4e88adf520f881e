"""The scoring script on the test's own data: with a model, and on files of predictions."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import pytest

from tinybert_jax import evaluate, export
from tinybert_jax.data import load_tokenizer
from tinybert_jax.errors import UserError
from tinybert_jax.model import BertConfig, BertForMaskedLM, BertForQuestionAnswering, init_params, save_pretrained
from tinybert_jax.synthetic.generate import SyntheticConfig, make_squad, train_tokenizer

ROOT = Path(__file__).parents[1]
CONFIG = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}


@pytest.fixture(autouse=True)
def as_it_is(monkeypatch):
    """The command sets its process up; here that is the tests' own."""
    monkeypatch.setattr("tinybert_jax.run.runtime.configure", lambda: None)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A generated data set's path, and a model's that was never trained."""
    folder = tmp_path_factory.mktemp("data")
    squad, _ = make_squad(SyntheticConfig(train_articles=1, dev_articles=1, paragraphs_per_article=2))
    tokenizer = train_tokenizer(squad, 400)
    (folder / "data.json").write_text(json.dumps(squad))
    config = BertConfig(vocab_size=len(tokenizer), max_position_embeddings=64, **CONFIG)
    for name, model in (("model", BertForQuestionAnswering(config)), ("encoder", BertForMaskedLM(config))):
        save_pretrained(folder / name, config, init_params(model, jax.random.key(0)), tokenizer)
    return folder


def ids_and_golds(path: Path):
    questions = [qa for a in json.loads(path.read_text())["data"] for p in a["paragraphs"] for qa in p["qas"]]
    return {qa["id"]: (qa["answers"] or [{"text": ""}])[0]["text"] for qa in questions}


def test_a_model_s_files_score_what_was_printed(data, tmp_path):
    metrics = evaluate.score_model(str(data / "model"), str(data / "data.json"), tmp_path / "out", batch_size=4).metrics
    assert json.loads((tmp_path / "out" / "metrics.json").read_text()) == metrics
    predictions, spans, odds = (tmp_path / "out" / f"{x}.json" for x in ("predictions", "best_spans", "null_odds"))
    # The official script on either file: answers with their "no answer", or all answers and the threshold in use.
    again = evaluate.score_predictions(str(data / "data.json"), predictions)
    assert again == {name: value for name, value in metrics.items() if not name.startswith("best")}
    assert evaluate.score_predictions(str(data / "data.json"), spans, odds, threshold=0.0) == metrics
    assert metrics["total"] == len(ids_and_golds(data / "data.json"))
    assert list(metrics)[-2:] == ["exact_interval", "f1_interval"]
    for name in ("exact", "f1"):
        low, high = metrics[f"{name}_interval"]
        assert low <= metrics[name] <= high


def test_a_token_without_an_embedding_is_refused(data, tmp_path):
    tokenizer = load_tokenizer(data / "model")
    few = len(tokenizer) - 1
    config = BertConfig(vocab_size=few, max_position_embeddings=64, **CONFIG)
    params = init_params(BertForQuestionAnswering(config), jax.random.key(0))
    save_pretrained(tmp_path / "m", config, params, tokenizer)
    with pytest.raises(UserError, match=f"m: token ids must be below {few}, .* got {few} for"):
        evaluate.score_model(str(tmp_path / "m"), str(data / "data.json"))


def test_the_command_scores_gold_answers_at_100(data, tmp_path):
    predictions = tmp_path / "predictions.json"
    predictions.write_text(json.dumps(ids_and_golds(data / "data.json")))
    command = [sys.executable, "evaluate.py", "--predictions", predictions, "--data", data / "data.json"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 0, ended.stderr
    metrics = json.loads(ended.stdout)
    assert (metrics["exact"], metrics["f1"], metrics["NoAns_f1"]) == (100.0, 100.0, 100.0)
    assert metrics["exact_interval"] == metrics["f1_interval"] == [100.0, 100.0]
    assert "best_f1" not in metrics


def test_the_threshold_turns_answers_into_none(data, tmp_path):
    golds = ids_and_golds(data / "data.json")
    predictions, odds = tmp_path / "predictions.json", tmp_path / "odds.json"
    predictions.write_text(json.dumps(golds))
    odds.write_text(json.dumps(dict.fromkeys(golds, 0.7)))
    metrics = evaluate.score_predictions(str(data / "data.json"), predictions, odds, threshold=0.5)
    assert (metrics["HasAns_exact"], metrics["NoAns_exact"], metrics["best_exact"]) == (0.0, 100.0, 100.0)


@pytest.fixture
def two_files(data, tmp_path):
    """The gold answers, and a file that leaves every second question without an answer."""
    golds = ids_and_golds(data / "data.json")
    half = {key: text if i % 2 else "" for i, (key, text) in enumerate(golds.items())}
    paths = tmp_path / "golds.json", tmp_path / "half.json"
    for path, predictions in zip(paths, (golds, half), strict=True):
        path.write_text(json.dumps(predictions))
    return paths


def test_two_files_are_compared(data, two_files):
    golds, half = two_files
    compared = evaluate.compare_predictions(str(data / "data.json"), golds, half)
    assert compared["predictions"] == evaluate.score_predictions(str(data / "data.json"), golds)
    assert compared["against"] == evaluate.score_predictions(str(data / "data.json"), half)
    for name in ("exact", "f1"):
        difference, lost = compared["difference"][name], 100 - compared["against"][name]
        low, high = difference["interval"]
        assert 0 < low < difference["mean"] < high
        assert difference["mean"] == pytest.approx(lost, abs=0.005)  # printed to two decimals
        assert 0 < difference["p"] < 0.05
    back = evaluate.compare_predictions(str(data / "data.json"), half, golds)["difference"]
    assert back["exact"]["mean"] == -compared["difference"]["exact"]["mean"]
    same = evaluate.compare_predictions(str(data / "data.json"), half, half)["difference"]
    assert same["f1"] == {"mean": 0.0, "interval": [0.0, 0.0], "p": 1.0}


def test_the_command_prints_a_comparison(data, two_files, monkeypatch, capsys):
    golds, half = map(str, two_files)
    arguments = ["--predictions", golds, "--against", half, "--data", str(data / "data.json")]
    monkeypatch.setattr(sys, "argv", ["evaluate.py", *arguments])
    evaluate.main()
    printed = json.loads(capsys.readouterr().out)
    assert list(printed) == ["predictions", "against", "difference"]
    assert printed == evaluate.compare_predictions(str(data / "data.json"), *two_files)


def test_two_models_are_compared_and_the_page_shows_both(data, tmp_path, monkeypatch, capsys):
    model, page = str(data / "model"), tmp_path / "new" / "page.html"
    arguments = ["--against", model, "--batch-size", "4", "--report", str(page), "--data", str(data / "data.json")]
    # The flags are the first model's: the second goes by its own settings.
    arguments += ["--answers.null-threshold", "1e9"]
    monkeypatch.setattr(sys, "argv", ["evaluate.py", model, *arguments])
    evaluate.main()
    printed = json.loads(capsys.readouterr().out)
    assert list(printed) == ["model", "against", "difference"]
    own = evaluate.score_model(model, str(data / "data.json"), batch_size=4).metrics
    assert printed["against"] == own
    assert printed["model"]["NoAns_exact"] == 0
    text = page.read_text()
    assert f"{len(ids_and_golds(data / 'data.json'))} questions of" in text
    assert "In use: 1e+09" in text
    assert "In use: 0," in text


def test_a_model_is_compared_with_a_file(data, two_files, tmp_path, monkeypatch, capsys):
    arguments = [str(data / "model"), "--against", str(two_files[0]), "--batch-size", "4"]
    monkeypatch.setattr(sys, "argv", ["evaluate.py", *arguments, "--data", str(data / "data.json")])
    evaluate.main()
    printed = json.loads(capsys.readouterr().out)
    assert printed["against"]["exact"] == 100.0
    assert printed["difference"]["exact"]["mean"] < 0


@pytest.mark.parametrize("package", ["jinja2", "matplotlib"])
def test_a_page_needs_its_extra(data, two_files, tmp_path, monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)  # importing it raises
    page = tmp_path / "page.html"
    arguments = ["--predictions", str(two_files[0]), "--data", str(data / "data.json"), "--report", str(page)]
    monkeypatch.setattr(sys, "argv", ["evaluate.py", *arguments])
    with pytest.raises(UserError, match=rf"{package} must be installed .* pip install 'tinybert-jax\[report\]'"):
        evaluate.main()
    assert not page.exists()


def test_a_comparison_names_the_file_that_lacks_questions(data, two_files, tmp_path):
    golds, half = two_files
    short = ids_and_golds(data / "data.json")
    lost = short.popitem()[0]
    (tmp_path / "short.json").write_text(json.dumps(short))
    for files in ((tmp_path / "short.json", half), (golds, tmp_path / "short.json")):
        with pytest.raises(
            UserError, match=rf"short\.json: every question needs its prediction: 1 missing, .* {lost};"
        ):
            evaluate.compare_predictions(str(data / "data.json"), *files)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give either a MODEL or --predictions"),
        (["MODEL", "--predictions", "x.json"], "give either a MODEL or --predictions"),
        (["--against", "x.json"], "give either a MODEL or --predictions"),
        (["MODEL", "--against", "x.json"], "cannot read x.json"),
        (["MODEL", "--against", "no/such/folder"], "no folder 'no/such/folder'"),
        (["MODEL", "--report", "tests"], "--report must be a file to write, got the folder tests"),
        (
            ["--predictions", "x", "--against", "y", "--null-odds", "z"],
            "--null-odds z would not be read, as it",
        ),
        (
            ["--predictions", "x", "--against", "y", "--threshold", "0"],
            "--threshold 0.0 would not be read, as it",
        ),
        (["model", "--threshold", "0"], "as it belongs to one file of predictions, and a MODEL has"),
        (["--predictions", "x", "--output", "y"], "--output y would not be read, as it says how MODEL answers"),
        (["--predictions", "x", "--windows.doc-stride", "9"], "would not be read, as it says how MODEL answers"),
        (
            ["--predictions", "x", "--dtype", "bfloat16"],
            "--dtype bfloat16 would not be read, as it says how",
        ),
        (["--predictions", "x", "--allow-non-finite"], "--allow-non-finite would not be read, as it says how"),
        (["--predictions", "missing.json", "--against", "y"], "cannot read missing.json"),
        (["ENCODER"], "without a question-answering head"),
        (["no/such/folder"], "no folder 'no/such/folder'"),
        (["--predictions", "missing.json"], "cannot read missing.json"),
        (["MODEL", "--windows.max-seq-len", "24", "--windows.doc-stride", "20"], "raise max_seq_len"),
    ],
)
def test_mistakes_exit_with_2_and_one_line(data, monkeypatch, capsys, arguments, message):
    names = {"MODEL": str(data / "model"), "ENCODER": str(data / "encoder")}
    arguments = [names.get(argument, argument) for argument in arguments]
    monkeypatch.setattr(sys, "argv", ["evaluate.py", *arguments, "--data", str(data / "data.json")])
    with pytest.raises(UserError, match=message):
        evaluate.main()
    assert capsys.readouterr().out == ""


def test_predictions_of_other_data_are_refused(data, tmp_path):
    (tmp_path / "p.json").write_text('{"other": "x"}')
    with pytest.raises(UserError, match=r"p\.json: every question needs its prediction"):
        evaluate.score_predictions(str(data / "data.json"), tmp_path / "p.json")
    (tmp_path / "p.json").write_text('["x"]')
    with pytest.raises(UserError, match="must be a JSON object"):
        evaluate.score_predictions(str(data / "data.json"), tmp_path / "p.json")
    (tmp_path / "p.json").write_text(json.dumps(ids_and_golds(data / "data.json")))
    (tmp_path / "odds.json").write_text("{}")
    with pytest.raises(UserError, match=r"p\.json with .*odds\.json: every question needs its null odds"):
        evaluate.score_predictions(str(data / "data.json"), tmp_path / "p.json", tmp_path / "odds.json")


def test_an_exported_file_is_scored(data, tmp_path, monkeypatch, capsys):
    pytest.importorskip("onnxruntime")
    export.export(str(data / "model"), tmp_path / "exported", int8=True)
    scores = []
    for model in (data / "model", tmp_path / "exported" / "onnx" / "model.onnx"):
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["evaluate.py", str(model), "--data", str(data / "data.json")])
        evaluate.main()
        scores.append(json.loads(capsys.readouterr().out))
    assert scores[0]["f1"] == pytest.approx(scores[1]["f1"])
    assert scores[0]["total"] == scores[1]["total"]


def test_a_model_with_a_bad_number_is_scored_where_that_is_asked_for(data, tmp_path, monkeypatch, capsys):
    from safetensors.numpy import load_file, save_file

    shutil.copytree(data / "model", tmp_path / "bad")
    file = tmp_path / "bad" / "model.safetensors"
    tensors = load_file(file)
    unused = load_tokenizer(data / "model").mask_token_id
    tensors["bert.embeddings.word_embeddings.weight"][unused, 3] = float("nan")
    save_file(tensors, file)
    arguments = ["evaluate.py", str(tmp_path / "bad"), "--batch-size", "4", "--data", str(data / "data.json")]
    monkeypatch.setattr(sys, "argv", arguments)
    with pytest.raises(UserError, match=r"word_embeddings\.weight must hold finite numbers, got nan"):
        evaluate.main()
    monkeypatch.setattr(sys, "argv", [*arguments, "--allow-non-finite"])
    with pytest.warns(UserWarning, match=r"word_embeddings\.weight holds 1 numbers that are not finite"):
        evaluate.main()
    sound = evaluate.score_model(str(data / "model"), str(data / "data.json"), batch_size=4).metrics
    assert json.loads(capsys.readouterr().out) == sound

    tensors["qa_outputs.bias"][0] = float("inf")  # which every logit sees
    save_file(tensors, file)
    with pytest.warns(UserWarning, match="not finite"), pytest.raises(UserError, match="logits must be finite"):
        evaluate.main()

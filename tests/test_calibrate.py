"""Calibration of a small model whose weights are random, on generated questions."""

import json
import sys

import numpy as np
import pytest

from tinybert_jax import calibrate, evaluate
from tinybert_jax.errors import UserError
from tinybert_jax.inference import QASettings, load_settings, write_settings
from tinybert_jax.model import BertConfig, BertForQuestionAnswering, save_pretrained
from tinybert_jax.scoring import AnswerConfig

SIZES = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}


def squad(questions):
    """Contexts of one or two letters, answered by all of it: some answers are right by chance."""
    rng = np.random.default_rng(0)
    paragraphs = []
    for i in range(questions):
        context = " ".join(rng.choice(list("bcd"), 1 + i % 2))
        answers = [] if i % 3 == 0 else [{"text": context, "answer_start": 0}]
        qas = [{"id": str(i), "question": "q", "answers": answers, "is_impossible": not answers}]
        paragraphs.append({"context": context, "qas": qas})
    return {"data": [{"title": "t", "paragraphs": paragraphs}]}


@pytest.fixture
def model(tmp_path, tokenizer, random_params):
    config = BertConfig(vocab_size=len(tokenizer.get_vocab()), max_position_embeddings=64, **SIZES)
    save_pretrained(tmp_path / "model", config, random_params(BertForQuestionAnswering(config), 0), tokenizer)
    return tmp_path / "model"


@pytest.fixture
def data(tmp_path):
    (tmp_path / "data.json").write_text(json.dumps(squad(60)))
    return str(tmp_path / "data.json")


def test_the_threshold_with_the_highest_f1_is_kept_and_obeyed(model, data):
    write_settings(model, QASettings(answers=AnswerConfig(null_threshold=-100)))  # no answer at all
    before = evaluate.score_model(str(model), data).metrics
    found = calibrate.calibrate(model, data)
    assert found["null_threshold"] == before["best_f1_thresh"]
    assert found["before"]["f1"] == before["f1"]
    after = evaluate.score_model(str(model), data).metrics
    assert found["after"]["f1"] == after["f1"] == pytest.approx(before["best_f1"])
    assert after["f1"] > before["f1"]
    assert found["after"]["log_loss"] <= found["before"]["log_loss"]
    settings = load_settings(model)
    assert settings.answers.null_threshold == found["null_threshold"]
    assert settings.temperature == found["temperature"]
    assert settings.tuned_on == {"data": "data.json", "questions": 60, "threshold": "highest F1"}


def test_a_model_that_is_best_silent_is_made_so(model, tmp_path):
    data = squad(60)
    for number, paragraph in enumerate(data["data"][0]["paragraphs"]):
        if number != 2:  # whose one word is the answer; others that hold the same one have the same odds
            paragraph["qas"][0] |= {"answers": [], "is_impossible": True}
    (tmp_path / "data.json").write_text(json.dumps(data))
    found = calibrate.calibrate(model, str(tmp_path / "data.json"))
    assert (found["after"]["given"], found["before"]["given"] > 0) == (0, True)
    assert found["after"]["f1"] > found["before"]["f1"]


def test_the_command_prints_what_it_wrote(model, data, monkeypatch, capsys):
    monkeypatch.setattr("tinybert_jax.run.runtime.configure", lambda: None)
    monkeypatch.setattr(sys, "argv", ["calibrate", str(model), "--data", data, "--max-wrong", "0.9"])
    calibrate.main()
    printed = json.loads(capsys.readouterr().out)
    assert printed["tuned_on"]["wrong"] == printed["after"]["wrong"]
    assert printed["tuned_on"]["given"] == printed["after"]["given"]
    assert load_settings(model).answers.null_threshold == printed["null_threshold"]
    monkeypatch.setattr(sys, "argv", ["evaluate", str(model), "--data", data])
    evaluate.main()
    printed_by_evaluate = capsys.readouterr()
    assert json.loads(printed_by_evaluate.out)["f1"] == printed["after"]["f1"]
    assert f"odds exceed {printed['null_threshold']:g}" in printed_by_evaluate.err
    monkeypatch.setattr(sys, "argv", ["evaluate", str(model), "--data", data, "--answers.null-threshold", "0"])
    evaluate.main()
    assert json.loads(capsys.readouterr().out)["f1"] == printed["before"]["f1"]


@pytest.mark.parametrize(
    ("max_wrong", "keep", "message"),
    [
        (None, lambda i: i % 3, "data.json has no unanswerable question"),
        (None, lambda i: not i % 3, "data.json has no answerable question"),
        (0.01, lambda i: True, "no threshold keeps wrong answers below 1%"),
        (0.0, lambda i: True, r"max_wrong must be in \(0, 1\), got 0.0"),
    ],
    ids=["answerable", "unanswerable", "too strict", "zero"],
)
def test_what_cannot_be_tuned_is_refused_and_nothing_written(model, tmp_path, max_wrong, keep, message):
    content = squad(60)
    paragraphs = content["data"][0]["paragraphs"]
    content["data"][0]["paragraphs"] = [paragraph for i, paragraph in enumerate(paragraphs) if keep(i)]
    (tmp_path / "data.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=message):
        calibrate.calibrate(model, str(tmp_path / "data.json"), max_wrong)
    assert not (model / "question_answering.json").exists()


def test_a_hub_id_is_no_folder(data):
    with pytest.raises(UserError, match=r"owner/name must be a folder, .*tinybert convert owner/name"):
        calibrate.calibrate(calibrate.Path("owner/name"), data)

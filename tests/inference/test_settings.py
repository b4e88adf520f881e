import dataclasses
import json

import pytest

from tinybert_jax.data import WindowConfig
from tinybert_jax.errors import UserError
from tinybert_jax.inference import QASettings, load_settings, write_settings
from tinybert_jax.scoring import AnswerConfig


def test_settings_are_read_back(tmp_path):
    settings = QASettings(
        WindowConfig(128, 32, 24, "step"),
        AnswerConfig(max_answer_len=7, null_threshold=-1.25),
        1.5,
        True,
        {"data": "x"},
    )
    write_settings(tmp_path, settings)
    assert load_settings(tmp_path) == settings


def test_a_model_without_settings_has_the_defaults(tmp_path):
    assert load_settings(tmp_path) == QASettings()
    (tmp_path / "question_answering.json").write_text('{"temperature": 2}')
    assert load_settings(tmp_path) == QASettings(temperature=2)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[]", "settings must be a JSON object, got list"),
        ("{", "is not valid JSON"),
        ('{"threshold": 1}', "settings must be among null_threshold, .*, got threshold"),
        ('{"null_threshold": "1"}', "null_threshold must be a number, got '1'"),
        ('{"null_threshold": NaN}', "null_threshold must be a number, got nan"),
        ('{"temperature": 0}', "temperature must be a number over 0, got 0"),
        ('{"temperature": true}', "temperature must be a number over 0, got True"),
        ('{"max_answer_len": 0}', "max_answer_len must be at least 1, got 0"),
        ('{"max_answer_len": 1.5}', "max_answer_len must be a whole number"),
        ('{"trained_on_unanswerable": 1}', "must be true, false or null, got 1"),
        ('{"windows": {"stride": 1}}', "windows.stride must be a setting of the windows"),
        ('{"windows": {"max_seq_len": "384"}}', "windows.max_seq_len must be"),
        ('{"windows": {"max_seq_len": 0}}', "max_seq_len must be at least 1, got 0"),
        ('{"windows": {"stride_means": "what"}}', "stride_means"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_the_file(tmp_path, content, message):
    (tmp_path / "question_answering.json").write_text(content)
    with pytest.raises(UserError, match=message) as caught:
        load_settings(tmp_path)
    assert "question_answering.json" in str(caught.value)


def test_the_file_is_plain_json(tmp_path):
    write_settings(tmp_path, QASettings())
    stored = json.loads((tmp_path / "question_answering.json").read_text())
    assert stored["windows"]["max_seq_len"] == 384
    assert stored["null_threshold"] == 0.0


@pytest.mark.parametrize(
    ("trained", "tuned", "no_answer"),
    [(None, None, "allow"), (True, None, "allow"), (False, None, "never"), (False, {"data": "dev.json"}, "allow")],
)
def test_no_answer_may_be_given_where_it_was_trained_or_its_threshold_tuned(trained, tuned, no_answer):
    settings = QASettings(trained_on_unanswerable=trained, tuned_on=tuned)
    assert settings.answering == AnswerConfig(no_answer=no_answer)
    never = dataclasses.replace(settings, answers=AnswerConfig(no_answer="never"))
    assert never.answering == never.answers

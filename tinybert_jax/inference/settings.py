"""How a model is to be asked: what was tuned for it, or was true of its training, kept beside its weights."""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tinybert_jax.data import WindowConfig
from tinybert_jax.errors import UserError, check
from tinybert_jax.hub import locate
from tinybert_jax.scoring import AnswerConfig
from tinybert_jax.store.files import read_json, write_json

SETTINGS_FILE = "question_answering.json"

_TYPES = {
    "null_threshold": ("a number", lambda value: _is_number(value)),
    "temperature": ("a number over 0", lambda value: _is_number(value) and value > 0),
    "max_answer_len": ("a whole number", lambda value: type(value) is int),
    "windows": ("an object", lambda value: isinstance(value, dict)),
    "trained_on_unanswerable": ("true, false or null", lambda value: value is None or type(value) is bool),
    "tuned_on": ("an object or null", lambda value: value is None or isinstance(value, dict)),
}


@dataclass(frozen=True)
class QASettings:
    """A model's own settings; the defaults are those of a model that brings none.

    Attributes:
        windows: how passages are cut.
        answers: how answers are read off the logits; of these `null_threshold` and `max_answer_len` are kept.
        temperature: what logits are divided by before probabilities are made of them; no answer depends on it.
        trained_on_unanswerable: whether its training data had unanswerable questions; None where nobody knows.
        tuned_on: on what, and how, threshold and temperature were tuned; None where they were not.
    """

    windows: WindowConfig = WindowConfig()
    answers: AnswerConfig = AnswerConfig()
    temperature: float = 1.0
    trained_on_unanswerable: bool | None = None
    tuned_on: Mapping[str, Any] | None = None

    @property
    def answering(self) -> AnswerConfig:
        """How answers are read off, "auto" decided: "no answer" is given where it was trained, or its odds tuned."""
        return self.answers.decided(True if self.tuned_on is not None else self.trained_on_unanswerable)

    def __post_init__(self) -> None:
        check("temperature", self.temperature, math.isfinite(self.temperature) and self.temperature > 0, "over 0")


def load_settings(name_or_path: str | Path) -> QASettings:
    """Reads a model's question_answering.json; the defaults where it has none.

    Args:
        name_or_path: a folder or a hub id.

    Raises:
        UserError: the file is not JSON, or a setting is unknown, of the wrong type or out of range.
    """
    path = locate(name_or_path) / SETTINGS_FILE
    if not path.exists():
        return QASettings()
    stored = read_json(path)
    try:
        return _from_json(stored)
    except UserError as error:
        raise UserError(f"{path}: {error}; correct the file, or remove it for the defaults") from error


def write_settings(folder: Path, settings: QASettings) -> None:
    """Writes `folder`/question_answering.json, whole or not at all."""
    content = {
        "null_threshold": settings.answers.null_threshold,
        "temperature": settings.temperature,
        "max_answer_len": settings.answers.max_answer_len,
        "windows": dataclasses.asdict(settings.windows),
        "trained_on_unanswerable": settings.trained_on_unanswerable,
        "tuned_on": settings.tuned_on,
    }
    write_json(folder / SETTINGS_FILE, content)


def _from_json(stored: Any) -> QASettings:
    if not isinstance(stored, dict):
        raise UserError(f"settings must be a JSON object, got {type(stored).__name__}")
    unknown = sorted(stored.keys() - _TYPES.keys())
    check("settings", ", ".join(unknown), not unknown, f"among {', '.join(_TYPES)}")
    for name, value in stored.items():
        kind, is_kind = _TYPES[name]
        check(name, repr(value), is_kind(value), kind)
    windows = stored.get("windows", {})
    known = {field.name: type(field.default) for field in dataclasses.fields(WindowConfig)}
    for name, value in windows.items():
        check(f"windows.{name}", repr(value), type(value) is known.get(name), "a setting of the windows, of its type")
    answers = {name: stored[name] for name in ("null_threshold", "max_answer_len") if name in stored}
    rest = {name: stored[name] for name in ("temperature", "trained_on_unanswerable", "tuned_on") if name in stored}
    return QASettings(WindowConfig(**windows), AnswerConfig(**answers), **rest)


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)

"""Tune on held-out questions when a model says that there is no answer, and how probable it calls its answers.

    tinybert calibrate MODEL --data FILE [--max-wrong 0.05]

Writes question_answering.json into MODEL, which `tinybert ask` and `tinybert evaluate` follow: a temperature by
negative log-likelihood, and a threshold by F1 or, with --max-wrong, by a bound on the share of wrong answers among
those given that holds with 95% confidence. FILE must be data that the model was neither trained nor chosen on.
"""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import numpy as np
import tyro
from jaxtyping import Bool

from tinybert_jax.data import Example, read_squad
from tinybert_jax.errors import UserError, check, run_script
from tinybert_jax.scoring import (
    Answers,
    check_labelled,
    find_answers,
    question_scores,
    squad_metrics,
)
from tinybert_jax.scoring.calibration import (
    calibration_error,
    f1_threshold,
    fit_temperature,
    log_loss,
    risk_threshold,
    top_probability,
)

if TYPE_CHECKING:
    from tinybert_jax.inference import QASettings
    from tinybert_jax.inference.loading import Loaded


@dataclass(frozen=True)
class Arguments:
    """Tune a model's threshold and temperature on held-out questions, and keep them beside its weights.

    Prints JSON: both, and what they change on these questions.

    Attributes:
        model: a folder; question_answering.json is written there.
        data: questions and gold answers that the model has not seen: SQuAD 2.0 JSON, plain or gzipped, an .arrow file,
            or a hub data set "owner/name[/configuration][@revision]:split".
        max_wrong: bound the share of answers that do not match exactly among those given, in (0, 1), with 95%
            confidence; without it the threshold is the one with the highest F1.
        batch_size: windows in a forward pass.
    """

    model: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="MODEL")]
    data: str
    max_wrong: float | None = None
    batch_size: int = 32


class _Asked(NamedTuple):
    """What a model says to held-out questions at threshold 0.

    Attributes:
        examples: the questions.
        answers: what it says.
        is_right: whether what it says is right.
        is_right_span: whether its best span is, which it may not say.
    """

    examples: Sequence[Example]
    answers: Answers
    is_right: Bool[np.ndarray, " Q"]
    is_right_span: Bool[np.ndarray, " Q"]


def calibrate(model: Path, data: str, max_wrong: float | None = None, batch_size: int = 32) -> dict[str, Any]:
    """Tunes a model and writes its question_answering.json.

    Args:
        model: its folder.
        data: as in `read_squad`.
        max_wrong: as in `risk_threshold`; None for the threshold with the highest F1.
        batch_size: windows in a forward pass.

    Returns:
        What was tuned, and the figures on these questions before and after.

    Raises:
        UserError: no such folder, data without unanswerable or without answerable questions, or no threshold or
            temperature can be found on it.
    """
    from tinybert_jax.inference import write_settings
    from tinybert_jax.inference.loading import load
    from tinybert_jax.run.model_card import shown

    if max_wrong is not None:
        check("max_wrong", max_wrong, 0 < max_wrong < 1, "in (0, 1)")
    if not model.is_dir():
        raise UserError(
            f"{model} must be a folder, as question_answering.json is written into it: "
            f"`tinybert convert {model} FOLDER` makes one of a hub id"
        )
    examples = _read(data)
    loaded = load(model)
    asked = _ask(loaded, examples, batch_size)
    threshold, how = _threshold(asked, max_wrong)
    before = loaded.settings
    after = dataclasses.replace(
        before,
        answers=dataclasses.replace(before.answers, null_threshold=threshold),
        temperature=fit_temperature(asked.answers.options, asked.is_right),
        tuned_on={"data": shown(data), "questions": len(examples), **how},
    )
    write_settings(model, after)
    tuned = {"null_threshold": threshold, "temperature": after.temperature, "tuned_on": after.tuned_on}
    return tuned | {"before": _figures(asked, before), "after": _figures(asked, after)}


def _read(data: str) -> Sequence[Example]:
    examples = read_squad(data, check_offsets=False)
    check_labelled(examples)
    impossible = sum(example.is_impossible for example in examples)
    if impossible in (0, len(examples)):
        kind = "answerable" if impossible else "unanswerable"
        raise UserError(f"{data} has no {kind} question: when to say that there is no answer takes both kinds to tune")
    return examples


def _ask(loaded: "Loaded", examples: Sequence[Example], batch_size: int) -> _Asked:
    from tinybert_jax.inference import predict_logits

    config = dataclasses.replace(loaded.settings.answers, null_threshold=0.0, no_answer="allow")
    windows = loaded.dataset(examples).windows
    logits = predict_logits(loaded.network, windows, batch_size=batch_size)
    answers = find_answers(examples, windows, logits, config)
    said, spans = (_are_exact(examples, texts) for texts in (answers.predictions, answers.best_spans))
    return _Asked(examples, answers, said, spans)


def _threshold(asked: _Asked, max_wrong: float | None) -> tuple[float, dict[str, Any]]:
    """The threshold, and how it was found."""
    odds = np.array(list(asked.answers.null_odds.values()))
    if max_wrong is None:
        span_f1 = np.array(list(question_scores(asked.examples, asked.answers.best_spans)["f1"].values()))
        null_f1 = np.array([float(example.is_impossible) for example in asked.examples])
        return f1_threshold(odds, span_f1, null_f1), {"threshold": "highest F1"}
    found = risk_threshold(odds, ~asked.is_right_span, max_wrong)
    seen = {"max_wrong": max_wrong, "given": found.given, "wrong": found.wrong}
    return found.threshold, {"threshold": "share of wrong answers, 95% confidence", **seen}


def _figures(asked: _Asked, settings: "QASettings") -> dict[str, float]:
    """What the settings score on the questions asked."""
    spans, odds, at = asked.answers.best_spans, asked.answers.null_odds, settings.answers.null_threshold
    metrics = squad_metrics(asked.examples, spans, odds, at)
    given = np.array(list(odds.values())) <= at
    probability = top_probability(asked.answers.options, settings.temperature)
    return {
        "exact": metrics["exact"],
        "f1": metrics["f1"],
        "given": int(given.sum()),
        "wrong": int((given & ~asked.is_right_span).sum()),
        "log_loss": round(log_loss(probability, asked.is_right), 4),
        "calibration_error": round(calibration_error(probability, asked.is_right), 4),
    }


def _are_exact(examples: Sequence[Example], predictions: Mapping[str, str]) -> Bool[np.ndarray, " Q"]:
    return np.array(list(question_scores(examples, predictions)["exact"].values())) == 1


def main() -> None:
    """Runs the command line."""
    from tinybert_jax.run.runtime import configure

    arguments = tyro.cli(Arguments, prog="tinybert calibrate")
    configure()
    print(json.dumps(calibrate(arguments.model, arguments.data, arguments.max_wrong, arguments.batch_size), indent=2))


if __name__ == "__main__":
    run_script(main)

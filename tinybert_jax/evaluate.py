"""Score a model, or a file of predictions, by the official SQuAD rules.

    python evaluate.py MODEL --data FILE [--output DIR]
    python evaluate.py --predictions predictions.json --data FILE [--null-odds null_odds.json] [--threshold X]
    python evaluate.py --predictions A.json --against B.json --data FILE

Prints the official metrics as JSON on stdout, and 95% bootstrap intervals of exact and F1. With a model, --output also
writes metrics.json, predictions.json, null_odds.json and best_spans.json: the answers as if there were one to each
question, from which, with the odds, any script finds the best threshold. With --against, prints both files' metrics
and how far A is ahead of B: the mean difference, its interval and its p-value by a paired bootstrap. FILE is SQuAD 1.1
or 2.0 JSON, plain or gzipped, an .arrow file of `augment`, or a hub data set such as rajpurkar/squad_v2:validation;
google/xquad/xquad.de:validation names a configuration, rajpurkar/squad_v2@main:validation a branch, tag or commit.
"""

import dataclasses
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import tyro

from tinybert_jax.data import Dataset, Example, WindowConfig, build_windows, read_squad
from tinybert_jax.errors import UserError, run_script
from tinybert_jax.model.config import Dtype
from tinybert_jax.scoring import (
    AnswerConfig,
    metric_differences,
    metric_intervals,
    question_scores,
    squad_metrics,
)
from tinybert_jax.store.files import read_json

if TYPE_CHECKING:
    from tinybert_jax.inference import Evaluation


def score_predictions(
    data: str, predictions: Path, null_odds: Path | None = None, threshold: float = 1.0
) -> dict[str, Any]:
    """Scores a file of predictions exactly as the official script does, and adds intervals of exact and F1."""
    return _score_file(read_squad(data, check_offsets=False), predictions, null_odds, threshold).metrics


def compare_predictions(data: str, predictions: Path, against: Path) -> dict[str, Any]:
    """Scores two files of predictions, and how far the first is ahead of the second by a paired bootstrap.

    Returns:
        {"predictions": metrics, "against": metrics, "difference": {"exact": {"mean", "interval", "p"}, "f1": …}}
        with means and intervals in percent, positive where `predictions` is the better file.
    """
    examples = read_squad(data, check_offsets=False)
    ours, theirs = _score_file(examples, predictions), _score_file(examples, against)
    difference = metric_differences(ours.questions, theirs.questions)
    return {"predictions": ours.metrics, "against": theirs.metrics, "difference": difference}


def score_model(
    model: str,
    data: str,
    output: Path | None = None,
    windows: WindowConfig | None = None,
    answers: AnswerConfig | None = None,
    batch_size: int = 32,
    dtype: Dtype = "float32",
) -> "Evaluation":
    """Answers the questions with a model and scores the answers; writes both to `output` where one is given.

    Args:
        model: a folder or a hub id.
        data: as `read_squad` has it.
        output: where metrics and answers are written.
        windows: how text is cut, shortened to the model's position table; None for the model's own settings.
        answers: how answers are read off the logits; None for the model's own settings.
        batch_size: windows a forward.
        dtype: what matrix products compute in.
    """
    from tinybert_jax.inference import evaluate, write_evaluation
    from tinybert_jax.inference.loading import load

    examples = read_squad(data, check_offsets=False)
    network, tokenizer, settings = load(model, dtype)
    fitted = settings.windows if windows is None else windows.fitted(network.config.max_positions)
    dataset = Dataset(examples, build_windows(examples, tokenizer, fitted))
    evaluation = evaluate(network, dataset, answers or settings.answers, batch_size=batch_size)
    if output is not None:
        write_evaluation(output, evaluation)
    return evaluation


class _Scores(NamedTuple):
    """A file's metrics with their intervals, and the scores of single questions by metric and id."""

    metrics: dict[str, Any]
    questions: dict[str, dict[str, float]]


def _score_file(
    examples: Sequence[Example], predictions: Path, null_odds: Path | None = None, threshold: float = 1.0
) -> _Scores:
    answers = _read_object(predictions)
    odds = None if null_odds is None else _read_object(null_odds)
    try:
        questions = question_scores(examples, answers, odds, threshold)
    except UserError as error:
        files = predictions if null_odds is None else f"{predictions} with {null_odds}"
        raise UserError(f"{files}: {error}") from error
    return _Scores(squad_metrics(examples, answers, odds, threshold) | metric_intervals(questions), questions)


def _read_object(path: Path) -> dict[str, Any]:
    content = read_json(path)
    if not isinstance(content, dict):
        raise UserError(f"{path} must be a JSON object by question id, got {type(content).__name__}")
    return content


@dataclass(frozen=True)
class Arguments:
    """Score a model, or a file of predictions, by the official SQuAD rules.

    Prints JSON: the official metrics in percent, and 95% bootstrap intervals of exact and F1. With --against, both
    files' metrics and the difference between them, its interval and its two-sided p-value by a paired bootstrap.

    Attributes:
        model: a folder or a hub id, "owner/name" or "owner/name@revision"; leave it out with --predictions.
        data: questions and gold answers: SQuAD JSON, plain or gzipped, or a hub data set
            "owner/name[/configuration][@revision]:split".
        output: where a model's metrics, predictions, best spans and null odds are written.
        predictions: a JSON object, question id to answer, to score without a model.
        against: with --predictions, a second such file: both are scored, and compared question by question.
        null_odds: with --predictions, a JSON object, question id to how much the model favours no answer. The best
            thresholds are looked for among the answers in the file: those that are empty stay empty.
        threshold: with --predictions, odds above this count as no answer.
        windows: how text is cut into windows, shortened to the model's position table; its own settings unless given.
        answers: how answers are read off the logits; the model's own settings unless given.
        batch_size: windows a forward.
        dtype: what matrix products compute in.
    """

    data: str
    model: tyro.conf.Positional[str] = ""
    output: Path | None = None
    predictions: Path | None = None
    against: Path | None = None
    null_odds: Path | None = None
    threshold: float = 1.0
    windows: WindowConfig = WindowConfig()
    answers: AnswerConfig = AnswerConfig()
    batch_size: int = 32
    dtype: Dtype = "float32"


def _check(arguments: Arguments) -> None:
    if arguments.against is not None and arguments.predictions is None:
        raise UserError("--against compares two files of predictions: give the other one as --predictions FILE")
    if bool(arguments.model) == (arguments.predictions is not None):
        raise UserError("give either a MODEL or --predictions FILE, and not both")
    if arguments.against is not None and (arguments.null_odds is not None or arguments.threshold != 1.0):
        raise UserError("--null-odds and --threshold belong to one file of predictions: leave them out with --against")


def _score(arguments: Arguments) -> dict[str, Any]:
    if arguments.predictions is None:
        evaluation = score_model(
            arguments.model,
            arguments.data,
            arguments.output,
            arguments.windows,
            arguments.answers,
            arguments.batch_size,
            arguments.dtype,
        )
        print(_said(evaluation.config), file=sys.stderr)
        return evaluation.metrics
    if arguments.against is not None:
        return compare_predictions(arguments.data, arguments.predictions, arguments.against)
    return score_predictions(arguments.data, arguments.predictions, arguments.null_odds, arguments.threshold)


def _said(config: AnswerConfig) -> str:
    """What was decided about "no answer", in a line."""
    if config.no_answer == "never":
        return '"no answer" is never predicted: no question of the data is unanswerable, or it was asked for'
    return f'"no answer" is predicted where its odds exceed {config.null_threshold:g}'


def main() -> None:
    """Runs the command line."""
    arguments = tyro.cli(Arguments, prog="tinybert evaluate")
    _check(arguments)
    if arguments.model:
        from tinybert_jax.inference.settings import load_settings
        from tinybert_jax.run.runtime import configure
        from tinybert_jax.store.cache import default_cache

        configure(default_cache())
        # The model's own settings are the defaults of the flags, and which model it is had to be read first.
        settings = load_settings(arguments.model)
        own = dataclasses.replace(arguments, windows=settings.windows, answers=settings.answers)
        arguments = tyro.cli(Arguments, prog="tinybert evaluate", default=own)
    print(json.dumps(_score(arguments), indent=2))


if __name__ == "__main__":
    run_script(main)

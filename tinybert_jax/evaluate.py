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
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tinybert_jax.data import Dataset, Example, WindowConfig, build_windows, load_tokenizer, read_squad
from tinybert_jax.data.tokenizer import check_ids_fit
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
) -> dict[str, Any]:
    """Answers the questions with a model and scores the answers; writes both to `output` where one is given."""
    from tinybert_jax.inference import evaluate, write_evaluation
    from tinybert_jax.model import load_qa_model

    examples = read_squad(data, check_offsets=False)
    loaded = load_qa_model(model)
    fitted = fit_windows(windows or WindowConfig(), loaded.config.max_positions)
    loaded = loaded._replace(config=dataclasses.replace(loaded.config, dtype=dtype))
    tokenizer = load_tokenizer(model)
    check_ids_fit(model, tokenizer, loaded.config.vocab_size)
    dataset = Dataset(examples, build_windows(examples, tokenizer, fitted))
    evaluation = evaluate(loaded.network, loaded.params, dataset, answers, batch_size=batch_size)
    if output is not None:
        write_evaluation(output, evaluation)
    return evaluation.metrics


def fit_windows(windows: WindowConfig, positions: int) -> WindowConfig:
    """Shortens windows to a model's position table, and their overlap in proportion."""
    if windows.max_seq_len <= positions:
        return windows
    overlap = windows.doc_stride * positions // windows.max_seq_len
    return dataclasses.replace(windows, max_seq_len=positions, doc_stride=overlap)


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


def command_line(
    model: str = "",
    /,
    *,
    data: str,
    output: Path | None = None,
    predictions: Path | None = None,
    against: Path | None = None,
    null_odds: Path | None = None,
    threshold: float = 1.0,
    windows: WindowConfig = WindowConfig(),
    answers: AnswerConfig = AnswerConfig(),
    batch_size: int = 32,
    dtype: Dtype = "float32",
) -> None:
    """Score a model, or a file of predictions, by the official SQuAD rules.

    Prints JSON: the official metrics in percent, and 95% bootstrap intervals of exact and F1. With --against, both
    files' metrics and the difference between them, its interval and its two-sided p-value by a paired bootstrap.

    Args:
        model: a folder or a hub id, "owner/name" or "owner/name@revision"; leave it out with --predictions.
        data: questions and gold answers: SQuAD JSON, plain or gzipped, or a hub data set
            "owner/name[/configuration][@revision]:split".
        output: where a model's metrics, predictions, best spans and null odds are written.
        predictions: a JSON object, question id to answer, to score without a model.
        against: with --predictions, a second such file: both are scored, and compared question by question.
        null_odds: with --predictions, a JSON object, question id to how much the model favours no answer. The best
            thresholds are looked for among the answers in the file: those that are empty stay empty.
        threshold: with --predictions, odds above this count as no answer.
        windows: how text is cut into windows; shortened to the model's position table.
        answers: how answers are read off the logits.
        batch_size: windows a forward.
        dtype: what matrix products compute in.
    """
    if against is not None and predictions is None:
        raise UserError("--against compares two files of predictions: give the other one as --predictions FILE")
    if bool(model) == (predictions is not None):
        raise UserError("give either a MODEL or --predictions FILE, and not both")
    if against is not None and (null_odds is not None or threshold != 1.0):
        raise UserError("--null-odds and --threshold belong to one file of predictions: leave them out with --against")
    if predictions is not None and against is not None:
        metrics = compare_predictions(data, predictions, against)
    elif predictions is not None:
        metrics = score_predictions(data, predictions, null_odds, threshold)
    else:
        from tinybert_jax.run.runtime import configure
        from tinybert_jax.store.cache import default_cache

        configure(default_cache())
        metrics = score_model(model, data, output, windows, answers, batch_size, dtype)
    print(json.dumps(metrics, indent=2))


def main() -> None:
    """Runs the command line."""
    import tyro

    tyro.cli(command_line, prog="tinybert evaluate")


if __name__ == "__main__":
    run_script(main)

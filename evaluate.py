"""Score a model, or a file of predictions, by the official SQuAD rules.

    python evaluate.py MODEL --data FILE [--output DIR]
    python evaluate.py --predictions predictions.json --data FILE [--null-odds null_odds.json] [--threshold X]

Prints the official metrics as JSON on stdout. With a model, --output also writes metrics.json, predictions.json and
null_odds.json. FILE is SQuAD 1.1 or 2.0 JSON, plain or gzipped, or a hub data set such as
rajpurkar/squad_v2:validation.
"""

import dataclasses
import json
from pathlib import Path
from typing import Any

from tinybert_jax.data import WindowConfig, build_windows, load_tokenizer, read_squad
from tinybert_jax.errors import UserError, run_script
from tinybert_jax.files import read_json
from tinybert_jax.model.config import Dtype
from tinybert_jax.scoring import AnswerConfig, squad_metrics


def score_predictions(
    data: str, predictions: Path, null_odds: Path | None = None, threshold: float = 1.0
) -> dict[str, Any]:
    """Scores a file of predictions exactly as the official script does."""
    examples = read_squad(data, check_offsets=False)
    odds = None if null_odds is None else _read_object(null_odds)
    return squad_metrics(examples, _read_object(predictions), odds, threshold)


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
    from tinybert_jax.run.allocator import keep_freed_memory
    from tinybert_jax.run.evaluation import Dataset, evaluate, write_evaluation
    from tinybert_jax.run.prepare import load_qa_model

    keep_freed_memory()
    examples = read_squad(data, check_offsets=False)
    loaded = load_qa_model(model)
    fitted = fit_windows(windows or WindowConfig(), loaded.config.max_position_embeddings)
    loaded = loaded._replace(config=dataclasses.replace(loaded.config, dtype=dtype))
    dataset = Dataset(examples, build_windows(examples, load_tokenizer(model), fitted))
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
    null_odds: Path | None = None,
    threshold: float = 1.0,
    windows: WindowConfig = WindowConfig(),
    answers: AnswerConfig = AnswerConfig(),
    batch_size: int = 32,
    dtype: Dtype = "float32",
) -> None:
    """Score a model, or a file of predictions, by the official SQuAD rules.

    Args:
        model: a folder or a hub id; leave it out with --predictions.
        data: questions and gold answers: SQuAD JSON, plain or gzipped, or a hub data set "owner/name:split".
        output: where a model's metrics, predictions and null odds are written.
        predictions: a JSON object, question id to answer, to score without a model.
        null_odds: with --predictions, a JSON object, question id to how much the model favours no answer.
        threshold: with --predictions, odds above this count as no answer.
        windows: how text is cut into windows; shortened to the model's position table.
        answers: how answers are read off the logits.
        batch_size: windows a forward.
        dtype: what matrix products compute in.
    """
    if bool(model) == (predictions is not None):
        raise UserError("give either a MODEL or --predictions FILE, and not both")
    if predictions is not None:
        metrics = score_predictions(data, predictions, null_odds, threshold)
    else:
        metrics = score_model(model, data, output, windows, answers, batch_size, dtype)
    print(json.dumps(metrics, indent=2))


def main() -> None:
    """Runs the command line."""
    import tyro

    tyro.cli(command_line, prog="evaluate.py")


if __name__ == "__main__":
    run_script(main)

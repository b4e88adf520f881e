"""Score a model, or a file of predictions, by the official SQuAD rules.

    python evaluate.py MODEL --data FILE [--output DIR] [--report PAGE.html]
    python evaluate.py MODEL --against TEACHER --data FILE [--report PAGE.html]
    python evaluate.py --predictions predictions.json --data FILE [--null-odds null_odds.json] [--threshold X]
    python evaluate.py --predictions A.json --against B.json --data FILE
    python evaluate.py MODEL --against TEACHER --data QUESTIONS.jsonl

Prints the official metrics as JSON on stdout, and 95% bootstrap intervals of exact and F1. With a model, --output also
writes metrics.json, predictions.json, null_odds.json and best_spans.json: the answers as if there were one to each
question, from which, with the odds, any script finds the best threshold. With --against, prints both systems' metrics
and how far the first is ahead: the mean difference, its interval and its p-value by a paired bootstrap. --report writes
a page for people: the figures, drawn, and every question. FILE is SQuAD 1.1 or 2.0 JSON, plain or gzipped, an .arrow
file of `augment`, or a hub data set such as rajpurkar/squad_v2:validation; google/xquad/xquad.de:validation names a
configuration, rajpurkar/squad_v2@main:validation a branch, tag or commit. Questions without labels, a .jsonl file of
{"id", "question", "context"}, show how far a model agrees with its teacher.
"""

import dataclasses
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from tinybert_jax.data import Dataset, Example, WindowConfig, build_windows, read_squad
from tinybert_jax.errors import UserError, check_least, check_numbers, check_read, run_script
from tinybert_jax.extras import require
from tinybert_jax.model.config import Dtype
from tinybert_jax.report.systems import System, of_model, of_predictions
from tinybert_jax.scoring import AnswerConfig, metric_differences
from tinybert_jax.store.files import check_folder_for, read_json

if TYPE_CHECKING:
    from tinybert_jax.inference import Evaluation
    from tinybert_jax.inference.loading import Loaded


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
    return _compared("predictions", _score_file(examples, predictions), _score_file(examples, against))


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
        data: as in `read_squad`.
        output: where metrics and answers are written.
        windows: how text is cut, shortened to the model's position table; None for the model's own settings.
        answers: how answers are read off the logits; None for the model's own settings.
        batch_size: windows in a forward pass.
        dtype: what matrix products compute in.
    """
    from tinybert_jax.inference.loading import load

    examples = read_squad(data, check_offsets=False)
    return _evaluate(load(model, dtype), examples, output, windows, answers, batch_size)


def _evaluate(
    loaded: "Loaded",
    examples: Sequence[Example],
    output: Path | None,
    windows: WindowConfig | None,
    answers: AnswerConfig | None,
    batch_size: int,
) -> "Evaluation":
    from tinybert_jax.inference import evaluate, write_evaluation

    network, tokenizer, settings = loaded
    fitted = settings.windows if windows is None else windows.fitted(network.config.max_positions)
    dataset = Dataset(examples, build_windows(examples, tokenizer, fitted))
    evaluation = evaluate(network, dataset, answers or settings.answers, batch_size=batch_size)
    if output is not None:
        write_evaluation(output, evaluation)
    return evaluation


def _score_file(
    examples: Sequence[Example], predictions: Path, null_odds: Path | None = None, threshold: float = 1.0
) -> System:
    answers = _read_object(predictions)
    odds = None if null_odds is None else _read_object(null_odds)
    try:
        return of_predictions(str(predictions), examples, answers, odds, threshold)
    except UserError as error:
        files = predictions if null_odds is None else f"{predictions} with {null_odds}"
        raise UserError(f"{files}: {error}") from error


def _compared(name: str, ours: System, theirs: System) -> dict[str, Any]:
    difference = metric_differences(ours.scores, theirs.scores)
    return {name: ours.metrics, "against": theirs.metrics, "difference": difference}


def _read_object(path: Path) -> dict[str, Any]:
    content = read_json(path)
    if not isinstance(content, dict):
        raise UserError(f"{path} must be a JSON object by question id, got {type(content).__name__}")
    return content


@dataclass(frozen=True)
class Arguments:
    """Score a model, or a file of predictions, by the official SQuAD rules.

    Prints JSON: the official metrics in percent, and 95% bootstrap intervals of exact and F1. With --against, both
    systems' metrics and the difference between them, its interval and its two-sided p-value by a paired bootstrap.

    Attributes:
        model: a folder or a hub id, "owner/name" or "owner/name@revision"; leave it out with --predictions.
        data: questions and gold answers: SQuAD JSON, plain or gzipped, an .arrow file of `augment`, or a hub data set
            "owner/name[/configuration][@revision]:split". Or a .jsonl file of questions without labels: prints how far
            the model agrees with that of --against.
        output: where a model's metrics, predictions, best spans and null odds are written.
        predictions: a JSON object, question id to answer, to score without a model.
        against: what to compare with, question by question: a second model (a teacher, say), which goes by its own
            windows and threshold, or a second file of predictions.
        report: writes a page that needs no network: figures with intervals, charts, and the questions to look
            through, with --against those that only one of both gets right. Needs the extra "report".
        null_odds: with --predictions, a JSON object, question id to how much the model favours no answer. The best
            thresholds are looked for among the answers in the file: those that are empty stay empty.
        threshold: with --predictions, odds above this count as no answer.
        windows: how text is cut into windows, shortened to the model's position table; its own settings unless given.
        answers: how answers are read off the logits; the model's own settings unless given.
        batch_size: windows in a forward pass.
        dtype: what matrix products compute in.
        allow_non_finite: scores a model whose weights hold NaN or infinities, and names their tensors; for research.
            Logits that these reach are refused all the same: there is nothing to score.
    """

    data: str
    model: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="[MODEL]")] = ""
    output: Path | None = None
    predictions: Path | None = None
    against: str | None = None
    report: Path | None = None
    null_odds: Path | None = None
    threshold: float = 1.0
    windows: WindowConfig = WindowConfig()
    answers: AnswerConfig = AnswerConfig()
    batch_size: int = 32
    dtype: Dtype = "float32"
    allow_non_finite: bool = False


def _check(arguments: Arguments) -> None:
    check_numbers(arguments)
    check_least(arguments, batch_size=1)
    if bool(arguments.model) == (arguments.predictions is not None):
        raise UserError("give either a MODEL or --predictions FILE, and not both")
    _check_all_is_read(arguments)
    if arguments.output is not None:
        check_folder_for(arguments.output / "metrics.json")
    if arguments.report is not None:
        if arguments.report.is_dir():
            raise UserError(f"--report must be a file to write, got the folder {arguments.report}: add a name")
        check_folder_for(arguments.report)
        for package in ("jinja2", "matplotlib"):
            require(package, "report")


def _check_all_is_read(arguments: Arguments) -> None:
    model, one = bool(arguments.model), arguments.against is None
    of_a_file = "it belongs to one file of predictions, and a MODEL has --answers.null-threshold"
    rules = (
        (("null_odds", "threshold"), not model and one, of_a_file),
        (("output", "windows", "answers"), model, "it says how MODEL answers, and the answers are given"),
        (("batch_size", "dtype", "allow_non_finite"), model or not one, "it says how a model is run, and none is"),
    )
    for names, is_read, why in rules:
        for name in names:
            check_read(name, getattr(arguments, name), getattr(Arguments, name), is_read, why)


def _score(arguments: Arguments) -> dict[str, Any]:
    examples = read_squad(arguments.data, check_offsets=False)
    if not examples[0].is_labelled:
        return _agreement(arguments, examples)
    ready = [_first(arguments, examples)]
    if arguments.against is not None:
        ready.append(_second(arguments, examples, arguments.against))
    systems = [answered() for answered in ready]
    if arguments.report is not None:
        from tinybert_jax.report.page import write_report

        write_report(arguments.report, arguments.data, examples, systems)
    if len(systems) == 1:
        return systems[0].metrics
    return _compared("model" if arguments.model else "predictions", *systems)


def _agreement(arguments: Arguments, examples: Sequence[Example]) -> dict[str, Any]:
    """How far a model agrees with its teacher on questions that nobody has labelled."""
    from tinybert_jax.inference import write_evaluation
    from tinybert_jax.inference.agreement import agreement_of
    from tinybert_jax.inference.loading import load

    if not arguments.model or arguments.against is None or arguments.report is not None:
        raise UserError(
            f"{arguments.data} has no labels to score answers by: give MODEL --against TEACHER, two models, to measure "
            "how far they agree, without --report, or give labelled data"
        )
    names, allowed = (arguments.model, arguments.against), arguments.allow_non_finite
    student, teacher = (load(name, arguments.dtype, allow_non_finite=allowed) for name in names)
    settings = dataclasses.replace(student.settings, windows=arguments.windows, answers=arguments.answers)
    evaluation = agreement_of(student._replace(settings=settings), teacher, examples, arguments.batch_size)
    if arguments.output is not None:
        write_evaluation(arguments.output, evaluation)
    if evaluation.metrics["kl"] is None:
        print("kl is not measured: the two models cut these texts into different tokens", file=sys.stderr)
    return evaluation.metrics


# A system about to answer: all that can be wrong with it has been looked at before the first takes its time.
_Ready = Callable[[], System]


def _first(arguments: Arguments, examples: Sequence[Example]) -> _Ready:
    if arguments.predictions is None:
        return _model(arguments, examples, arguments.model, arguments.output, arguments.windows, arguments.answers)
    system = _score_file(examples, arguments.predictions, arguments.null_odds, arguments.threshold)
    return lambda: system


def _second(arguments: Arguments, examples: Sequence[Example], against: str) -> _Ready:
    """What the first is compared with. A .json file holds predictions, and so does any other that is no network."""
    path = Path(against)
    if path.suffix != ".json" and not (path.is_file() and path.suffix != ".onnx"):
        return _model(arguments, examples, against)
    system = _score_file(examples, path)
    return lambda: system


def _model(
    arguments: Arguments,
    examples: Sequence[Example],
    name: str,
    output: Path | None = None,
    windows: WindowConfig | None = None,
    answers: AnswerConfig | None = None,
) -> _Ready:
    from tinybert_jax.inference.loading import load

    loaded = load(name, arguments.dtype, allow_non_finite=arguments.allow_non_finite)

    def answered() -> System:
        evaluation = _evaluate(loaded, examples, output, windows, answers, arguments.batch_size)
        print(f"{name}: {_said(evaluation.config)}", file=sys.stderr)
        return of_model(name, examples, evaluation, loaded.settings.temperature)

    return answered


def _said(config: AnswerConfig) -> str:
    """What was decided about "no answer", in a line."""
    if config.no_answer == "never":
        return '"no answer" is never predicted: no question of the data is unanswerable, or it was asked for'
    return f'"no answer" is predicted where its odds exceed {config.null_threshold:g}'


def main() -> None:
    """Runs the command line."""
    arguments = tyro.cli(Arguments, prog="tinybert evaluate")
    _check(arguments)
    if arguments.model or arguments.against:
        from tinybert_jax.run.runtime import configure

        configure()
    if arguments.model:
        from tinybert_jax.inference.loading import find
        from tinybert_jax.inference.settings import load_settings

        # The model's own settings are the defaults of the flags, and which model it is had to be read first.
        settings = load_settings(find(arguments.model).folder)
        own = dataclasses.replace(arguments, windows=settings.windows, answers=settings.answers)
        arguments = tyro.cli(Arguments, prog="tinybert evaluate", default=own)
    print(json.dumps(_score(arguments), indent=2))


if __name__ == "__main__":
    run_script(main)

"""Ask a model: `tinybert ask MODEL --question Q --context C`, or a file of questions with --jsonl.

    tinybert ask MODEL --question Q --context C [--top-k 5] [--threshold X] [--json]
    tinybert ask MODEL --question Q --context-file FILE_OR_FOLDER …
    tinybert ask MODEL --jsonl IN.jsonl --output OUT.jsonl

Answers are the passage's very characters. Several files, or a folder's .txt files, are searched together and the
answer names its file. With --jsonl, a line is {"id", "question", "context"}; answers are written in the same order, and
a job that was stopped goes on where it stopped.
"""

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from tinybert_jax.errors import UserError, check_least, check_numbers, check_read, run_script
from tinybert_jax.model.config import Dtype
from tinybert_jax.scoring.spans import NoAnswer

if TYPE_CHECKING:
    from tinybert_jax.inference import Answerer


@dataclass(frozen=True)
class Arguments:
    """Answer questions about passages with a question-answering model.

    Prints the answer, its probability, and where it is in the passage.

    Attributes:
        model: a folder or a hub id, "owner/name" or "owner/name@revision"; or an .onnx file.
        question: what to ask.
        context: the passage to search.
        context_file: text files to search together, in place of --context; in a folder, every .txt file at any depth.
        top_k: how many answers at most.
        json: print JSON: a list of answers, the best one first.
        jsonl: a file of questions, {"id", "question", "context"} a line; a context may be a list of texts.
        output: with --jsonl, the file that answers are written to.
        skip_bad: with --jsonl, continue after lines that cannot be used; each gets a line that says what is wrong.
        threshold: "no answer" is given where its odds exceed this; the model's own threshold unless given.
        no_answer: whether "no answer" may be given; "auto": unless the model was trained on answerable questions only,
            and there is no threshold, neither given nor tuned.
        max_answer_len: the longest answer, in tokens; the model's own unless given.
        batch_size: windows in a forward pass.
        dtype: what matrix products compute in.
    """

    model: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="MODEL")]
    question: str | None = None
    context: str | None = None
    context_file: tuple[Path, ...] = ()
    top_k: int = 1
    json: bool = False
    jsonl: Path | None = None
    output: Path | None = None
    skip_bad: bool = False
    threshold: float | None = None
    no_answer: NoAnswer = "auto"
    max_answer_len: int | None = None
    batch_size: int = 32
    dtype: Dtype = "float32"


def ask(arguments: Arguments) -> None:
    """Runs the command.

    Raises:
        UserError: the arguments do not fit each other, a file cannot be used, or as `inference.loading.load`.
    """
    _check(arguments)
    if arguments.jsonl is not None and arguments.output is not None:
        _answer_file(arguments, arguments.jsonl, arguments.output)
        return
    names, passages = _passages(arguments)
    answers = next(_load(arguments).many([(arguments.question or "", passages)], arguments.top_k))
    found = [
        answer._asdict() | {"passage": None if answer.passage is None else names[answer.passage]} for answer in answers
    ]
    if arguments.json:
        print(json.dumps(found, indent=2, ensure_ascii=False))
        return
    for answer in found:
        print(_said(answer))


def _check(arguments: Arguments) -> None:
    check_numbers(arguments)
    check_least(arguments, max_answer_len=1, batch_size=1)
    sources = [arguments.context is not None, bool(arguments.context_file), arguments.jsonl is not None]
    if sum(sources) != 1:
        raise UserError("give one of --context TEXT, --context-file FILES and --jsonl FILE, and only one")
    if (arguments.question is None) != (arguments.jsonl is not None):
        raise UserError("give a --question with --context or --context-file; a --jsonl file brings its own")
    if (arguments.output is None) != (arguments.jsonl is None):
        raise UserError("--jsonl FILE and --output FILE belong together")
    check_read("skip_bad", arguments.skip_bad, False, arguments.jsonl is not None, "it is about lines of --jsonl")
    check_read(
        "json", arguments.json, False, arguments.jsonl is None, "the answers to --jsonl are in that form already"
    )
    never = arguments.no_answer == "never"
    check_read("threshold", arguments.threshold, None, not never, '"no answer" is ruled out', "another --no-answer")
    if arguments.output is not None and arguments.output.exists():
        raise UserError(f"{arguments.output} exists already: name a new file, or remove that one first")
    if arguments.top_k < 1:
        raise UserError(f"--top-k must be at least 1, got {arguments.top_k}")
    if arguments.question is not None and not arguments.question.strip():
        raise UserError("--question must hold a text, got an empty one")
    if arguments.context is not None and not arguments.context.strip():
        raise UserError("--context must hold a text, got an empty one")


def _passages(arguments: Arguments) -> tuple[Sequence[str], list[str]]:
    """The passages to search, and their names."""
    if arguments.context is not None:
        return [""], [arguments.context]
    paths: list[Path] = []
    for path in arguments.context_file:
        inside = sorted(path.rglob("*.txt")) if path.is_dir() else [path]
        if not inside:
            raise UserError(f"{path} holds no .txt file")
        paths += inside
    texts = [_read_text(path) for path in paths]
    kept = [i for i, text in enumerate(texts) if text.strip()]
    if len(kept) < len(paths) and not any(path.is_dir() for path in arguments.context_file):
        raise UserError(f"{next(p for p, text in zip(paths, texts, strict=True) if not text.strip())} holds no text")
    if not kept:
        raise UserError(f"no file of {', '.join(map(str, arguments.context_file))} holds a text")
    return [str(paths[i]) for i in kept], [texts[i] for i in kept]


def _read_text(path: Path) -> str:
    try:
        # Line ends as they are: offsets count the file's own characters.
        with path.open(encoding="utf-8-sig", newline="") as file:
            return file.read()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path} must be a text in UTF-8: {error}") from error


def _load(arguments: Arguments) -> "Answerer":
    from tinybert_jax.inference import Answerer
    from tinybert_jax.inference.loading import load
    from tinybert_jax.run.runtime import configure

    configure()
    network, tokenizer, settings = load(arguments.model, arguments.dtype)
    given = {"null_threshold": arguments.threshold, "max_answer_len": arguments.max_answer_len}
    changed = {name: value for name, value in given.items() if value is not None}
    no_answer = arguments.no_answer if arguments.threshold is None else "allow"  # when, is said
    answers = dataclasses.replace(settings.answers, no_answer=no_answer, **changed)
    settings = dataclasses.replace(settings, answers=answers)
    return Answerer(network, tokenizer, settings, batch_size=arguments.batch_size)


def _answer_file(arguments: Arguments, questions: Path, output: Path) -> None:
    from tinybert_jax.data.question_lines import check_questions
    from tinybert_jax.inference.answer_file import answer_file
    from tinybert_jax.inference.loading import weights_digest

    counts = check_questions(questions, arguments.skip_bad)
    answerer = _load(arguments)
    model = {"model": arguments.model, "weights": weights_digest(arguments.model), "dtype": arguments.dtype}
    job = {**model, "settings": repr(answerer.settings), "top_k": arguments.top_k}
    answer_file(answerer, questions, output, counts.total, arguments.top_k, job)
    passed_over = f", {counts.bad} of them bad lines, which say what is wrong" if counts.bad else ""
    print(f"{output} holds the answers to {counts.total} questions{passed_over}")


def _said(answer: dict) -> str:
    """An answer for people, in a line."""
    if answer["passage"] is None:
        return f"(no answer)  probability {answer['probability']:.2f}"
    place = f"characters {answer['start']} to {answer['end']}" + (
        f" of {answer['passage']}" if answer["passage"] else ""
    )
    return f"{answer['text']}  probability {answer['probability']:.2f}, {place}"


def main() -> None:
    """Runs the command line."""
    ask(tyro.cli(Arguments, prog="tinybert ask"))


if __name__ == "__main__":
    run_script(main, "continues")

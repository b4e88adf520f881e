"""How far a student says what its teacher says: what can be measured where nobody knows the right answers.

The teacher's answers stand in for the gold ones. That is no measure of being right: a student agrees with its teacher's
mistakes, too.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from tinybert_jax.data.example import Example, GoldAnswer
from tinybert_jax.data.windows import Windows
from tinybert_jax.scoring.answers import Answers
from tinybert_jax.scoring.bootstrap import interval, metric_intervals
from tinybert_jax.scoring.metrics import question_scores


class Said(NamedTuple):
    """What a model makes of a data set.

    Attributes:
        answers: read off the logits.
        windows: what it was given.
        logits: start and end logits of every token, aligned with `windows.tokens`.
    """

    answers: Answers
    windows: Windows
    logits: Float[np.ndarray, "tokens 2"]


def as_golds(examples: Sequence[Example], predictions: Mapping[str, str]) -> list[Example]:
    """The questions with a model's answers as the gold ones, "" as "no answer": labelled, at no offset."""
    return [
        replace(example, answers=(GoldAnswer(text, -1),) if (text := predictions[example.id]) else (), is_labelled=True)
        for example in examples
    ]


def agreement(examples: Sequence[Example], student: Said, teacher: Said) -> dict[str, Any]:
    """Compares the answers of two models to the same questions, each figure with its 95% bootstrap interval.

    Returns:
        {"total": questions, and, in percent, "same_answer": those with the very characters of the context in common,
        or both without an answer; "exact" and "f1" by SQuAD's rules, the teacher's answers being the gold ones; "kl":
        the divergence of the student's start and end distributions over a window's tokens from the teacher's, in nats,
        summed over start and end and averaged over a question's windows; None where the models' windows differ;
        "…_interval": [low, high] of each}.

    Raises:
        UserError: there are no questions.
    """
    scores = question_scores(as_golds(examples, teacher.answers.predictions), student.answers.predictions)
    places, theirs = _places(student.answers), _places(teacher.answers)
    scores = {"same_answer": {key: float(places[key] == theirs[key]) for key in scores["exact"]}, **scores}
    means = {name: 100 * float(np.mean(list(values.values()))) for name, values in scores.items()}
    figures = {"total": len(examples), **means, **metric_intervals(scores)}
    if not same_windows(student.windows, teacher.windows):
        return figures | {"kl": None, "kl_interval": None}
    apart = divergence(student.windows, student.logits, teacher.logits)
    owner = student.windows.example
    of_question = np.bincount(owner, apart) / np.bincount(owner)
    low, high = interval(of_question)  # in percent
    return figures | {"kl": float(of_question.mean()), "kl_interval": [round(low / 100, 4), round(high / 100, 4)]}


def same_windows(one: Windows, other: Windows) -> bool:
    """Whether two models were given the same tokens in the same windows, so that their logits can be compared."""
    columns = ("row_splits", "tokens", "context_begin")
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in columns)


def divergence(
    windows: Windows, student: Float[np.ndarray, "tokens 2"], teacher: Float[np.ndarray, "tokens 2"]
) -> Float[np.ndarray, " W"]:
    """KL(teacher ‖ student) of each window's start and end distributions over its tokens, in nats, summed over both.

    It is the metric "kl" of a stage on predictions, window by window.

    Args:
        windows: W windows.
        student: logits, aligned with `windows.tokens`.
        teacher: likewise.
    """
    log_student, log_teacher = (_log_softmax(windows, logits) for logits in (student, teacher))
    terms = np.exp(log_teacher) * (log_teacher - log_student)
    return np.add.reduceat(terms.sum(axis=1), windows.row_splits[:-1])


def _log_softmax(windows: Windows, logits: np.ndarray) -> np.ndarray:
    begins, lengths = windows.row_splits[:-1], windows.lengths
    shifted = logits.astype(np.float64)
    shifted -= np.repeat(np.maximum.reduceat(shifted, begins), lengths, axis=0)
    return shifted - np.repeat(np.log(np.add.reduceat(np.exp(shifted), begins)), lengths, axis=0)


def _places(answers: Answers) -> dict[str, tuple[int, int] | None]:
    """Where each question's answer stands in its context; None for "no answer"."""
    return {
        key: (answers.n_best[key][0]["start"], answers.n_best[key][0]["end"]) if text else None
        for key, text in answers.predictions.items()
    }

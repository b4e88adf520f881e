"""From the logits of windows to one answer per question."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from tinybert_jax.data.example import Example
from tinybert_jax.data.windows import Windows
from tinybert_jax.errors import UserError
from tinybert_jax.scoring.spans import AnswerConfig, Spans, best_spans, null_scores, padded_options

# The odds of a question whose context holds no token: surely no answer. Finite, as JSON knows no infinity.
NO_SPAN_ODDS = float(np.finfo(np.float32).max)


class Answers(NamedTuple):
    """One entry per question, keyed by its id.

    Attributes:
        predictions: the answer's text, "" for "no answer".
        null_odds: null score minus best span score, in logits.
        n_best: the best spans, best first, each {"text", "score", "start", "end"}: score in logits,
            context[start:end] == text. Equal texts are listed once.
        options: what was chosen among, a row a question in their order, see `padded_options`: minus infinity for "no
            answer" where it is never given though there is a span.
    """

    predictions: dict[str, str]
    null_odds: dict[str, float]
    n_best: dict[str, list[dict]]
    options: Float[np.ndarray, "Q K"]

    @property
    def best_spans(self) -> dict[str, str]:
        """Each question's best answer, whatever its null odds; "" where the context holds no token."""
        return {key: spans[0]["text"] if spans else "" for key, spans in self.n_best.items()}


def find_answers(
    examples: Sequence[Example],
    windows: Windows,
    logits: Float[np.ndarray, "tokens 2"],
    config: AnswerConfig | None = None,
) -> Answers:
    """Finds each question's best spans over all its windows.

    A span's score is its start logit plus its end logit; every span of context tokens up to `max_answer_len`
    long takes part. A window's null score is that of its [CLS] token, a question's the lowest of its windows.
    The gold answers of `examples` are not looked at.

    Args:
        examples: the questions that `windows` was built from.
        windows: their windows.
        logits: start and end logits of every window's tokens, aligned with `windows.tokens`.
        config: how spans are chosen.

    Returns:
        The answers. A question whose context holds no token has no span: its prediction is "".

    Raises:
        ValueError: `logits` or `examples` do not belong to `windows`.
        UserError: a logit is not finite.
    """
    config = config or AnswerConfig()
    logits = np.asarray(logits, np.float32)
    check_inputs(examples, windows, logits)
    spans = best_spans(windows, logits, config)
    nulls = null_scores(windows, logits, len(examples))
    options = padded_options(spans, np.array(nulls), config.n_best)
    if config.no_answer == "never":
        options[np.isfinite(options[:, 1]), 0] = -np.inf
    answers = Answers({}, {}, {}, options)
    for example, own, null_score in zip(examples, spans.by_question(len(examples)), nulls, strict=True):
        candidates = _distinct(example.context, own, config.n_best)
        odds = null_score - candidates[0]["score"] if candidates else NO_SPAN_ODDS
        answers.predictions[example.id] = "" if not candidates or config.is_null(odds) else candidates[0]["text"]
        answers.null_odds[example.id] = odds
        answers.n_best[example.id] = candidates
    return answers


def _distinct(context: str, spans: Spans, n_best: int) -> list[dict]:
    """The first `n_best` different texts of a question's spans."""
    candidates: dict[str, dict] = {}
    for begin, end, score in zip(spans.begin.tolist(), spans.end.tolist(), spans.score.tolist(), strict=True):
        text = context[begin:end]
        if text not in candidates:
            candidates[text] = {"text": text, "score": score, "start": begin, "end": end}
            if len(candidates) == n_best:
                break
    return list(candidates.values())


def check_inputs(examples: Sequence[Example], windows: Windows, logits: np.ndarray) -> None:
    """Checks that windows and logits belong to the examples.

    Raises:
        ValueError: they do not.
        UserError: a logit is not finite.
    """
    if logits.shape != (len(windows.tokens), 2):
        raise ValueError(f"logits must be (total_tokens, 2) = ({len(windows.tokens)}, 2), got {logits.shape}")
    windows_of = np.bincount(windows.example, minlength=len(examples))
    if len(windows_of) != len(examples) or not windows_of.all():
        raise ValueError(f"each window must belong to one of {len(examples)} examples, and each of these have one")
    finite = np.isfinite(logits).all(axis=1)
    if not finite.all():
        window = np.searchsorted(windows.row_splits, np.argmin(finite), side="right") - 1
        raise UserError(
            f"logits must be finite, those of question {examples[windows.example[window]].id} are not: "
            "the checkpoint is damaged or its training diverged"
        )

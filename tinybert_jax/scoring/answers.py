"""From the logits of windows to one answer per question."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from tinybert_jax.data.example import Example
from tinybert_jax.data.windows import Windows
from tinybert_jax.errors import UserError, check_least

# The odds of a question whose context holds no token: surely no answer. Finite, as JSON knows no infinity.
NO_SPAN_ODDS = float(np.finfo(np.float32).max)

_BLOCK_SPANS = 1 << 21  # spans scored at once: 8 MB an array, whatever the data's size


@dataclass(frozen=True, slots=True)
class AnswerConfig:
    """How spans are chosen.

    Attributes:
        n_best: how many candidates to keep for a question.
        max_answer_len: the longest span considered, in tokens.
        null_threshold: "no answer" is predicted where the null odds exceed it.
    """

    n_best: int = 20
    max_answer_len: int = 30
    null_threshold: float = 0.0

    def __post_init__(self):
        check_least(self, n_best=1, max_answer_len=1)


class Answers(NamedTuple):
    """One entry per question, keyed by its id.

    Attributes:
        predictions: the answer's text, "" for "no answer".
        null_odds: null score minus best span score, in logits.
        n_best: the best spans, best first, each {"text", "score", "start", "end"}: score in logits,
            context[start:end] == text. Equal texts are listed once.
    """

    predictions: dict[str, str]
    null_odds: dict[str, float]
    n_best: dict[str, list[dict]]

    @property
    def best_spans(self) -> dict[str, str]:
        """Each question's best answer, whatever its null odds; "" where the context holds no token."""
        return {key: spans[0]["text"] if spans else "" for key, spans in self.n_best.items()}


class _Spans(NamedTuple):
    """Candidate spans, columnar: question index, score in logits, first and last token (flat)."""

    example: Int[np.ndarray, " spans"]
    score: Float[np.ndarray, " spans"]
    first: Int[np.ndarray, " spans"]
    last: Int[np.ndarray, " spans"]


def find_answers(
    examples: Sequence[Example],
    windows: Windows,
    logits: Float[np.ndarray, "tokens 2"],
    config: AnswerConfig | None = None,
) -> Answers:
    """Finds each question's best spans over all its windows.

    A span's score is its start logit plus its end logit; every span of context tokens up to `max_answer_len`
    long takes part. A window's null score is that of its [CLS] token, a question's the lowest of its windows.
    Where no question of `examples` is unanswerable (SQuAD 1.1), "no answer" is never predicted.

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
    _check_inputs(examples, windows, logits)
    spans = _sorted_by_question(_best_spans(windows, logits, config))
    bounds = np.searchsorted(spans.example, np.arange(len(examples) + 1))
    null_scores = _null_scores(windows, logits, len(examples))
    begin, end = windows.offsets[spans.first, 0].tolist(), windows.offsets[spans.last, 1].tolist()
    scores = spans.score.tolist()

    has_unanswerable = any(example.is_impossible for example in examples)
    answers = Answers({}, {}, {})
    for i, example in enumerate(examples):
        own = slice(bounds[i], bounds[i + 1])
        candidates = _distinct(example.context, scores[own], begin[own], end[own], config.n_best)
        odds = null_scores[i] - candidates[0]["score"] if candidates else NO_SPAN_ODDS
        is_null = not candidates or (has_unanswerable and odds > config.null_threshold)
        answers.predictions[example.id] = "" if is_null else candidates[0]["text"]
        answers.null_odds[example.id] = odds
        answers.n_best[example.id] = candidates
    return answers


def _distinct(context: str, scores: list, begin: list, end: list, n_best: int) -> list[dict]:
    """The first `n_best` different texts of spans, best first; overlapping windows repeat their spans."""
    candidates: dict[str, dict] = {}
    for score, start, stop in zip(scores, begin, end, strict=True):
        text = context[start:stop]
        if text and text not in candidates:
            candidates[text] = {"text": text, "score": score, "start": start, "end": stop}
            if len(candidates) == n_best:
                break
    return list(candidates.values())


def _null_scores(windows: Windows, logits: Float[np.ndarray, "tokens 2"], n_examples: int) -> list[float]:
    lowest = np.full(n_examples, np.inf, np.float32)
    np.minimum.at(lowest, windows.example, logits[windows.row_splits[:-1]].sum(axis=1))
    return lowest.tolist()


def _best_spans(windows: Windows, logits: Float[np.ndarray, "tokens 2"], config: AnswerConfig) -> _Spans:
    """The `n_best` best spans of every window, in no particular order."""
    context_lengths = windows.lengths - windows.context_begin - 1  # less the final [SEP]
    by_length = np.argsort(context_lengths, kind="stable")  # little padding in a block
    blocks = []
    done = int(np.searchsorted(context_lengths[by_length], 1))  # a window without context has no span
    while done < len(by_length):
        longest = int(context_lengths[by_length[done]])
        rows = by_length[done : done + max(1, _BLOCK_SPANS // (longest * config.max_answer_len))]
        blocks.append(_block_spans(windows, logits, rows, context_lengths[rows], config))
        done += len(rows)
    empty = _Spans(*(np.empty(0, dtype) for dtype in (np.int64, np.float32, np.int64, np.int64)))
    return _Spans(*(np.concatenate(column) for column in zip(empty, *blocks, strict=True)))


def _block_spans(
    windows: Windows,
    logits: Float[np.ndarray, "tokens 2"],
    rows: Int[np.ndarray, " B"],
    lengths: Int[np.ndarray, " B"],
    config: AnswerConfig,
) -> _Spans:
    """The best spans of the windows `rows`, whose contexts are `lengths` tokens long."""
    longest, width = int(lengths.max()), config.max_answer_len
    first_token = windows.row_splits[rows] + windows.context_begin[rows]
    position = np.arange(longest + width - 1)
    inside = position < lengths[:, None]
    token = np.where(inside, first_token[:, None] + position, 0)
    start = np.where(inside, logits[token, 0], -np.inf)[:, :longest]
    end = np.where(inside, logits[token, 1], -np.inf)

    # scores[b, i, j]: the span of window b from context token i to i + j. The best spans begin at the best
    # starts: those n whose own best span scores highest. So the search over all spans is a mere maximum.
    scores = start[:, :, None] + np.lib.stride_tricks.sliding_window_view(end, width, axis=1)
    starts = _top(scores.max(axis=2), config.n_best)
    scores = np.take_along_axis(scores, starts[:, :, None], axis=1).reshape(len(rows), -1)
    best = _top(scores, config.n_best)
    best_scores = np.take_along_axis(scores, best, axis=1)
    first = first_token[:, None] + np.take_along_axis(starts, best // width, axis=1)
    example = np.broadcast_to(windows.example[rows][:, None], best.shape)
    columns = example, best_scores, first, first + best % width
    return _Spans(*(column[np.isfinite(best_scores)] for column in columns))


def _top(values: Float[np.ndarray, "B X"], n: int) -> Int[np.ndarray, "B K"]:
    """Indices of the K = min(n, X) largest values of each row, in no particular order."""
    n = min(n, values.shape[1])
    return np.argpartition(values, values.shape[1] - n, axis=1)[:, -n:]


def _sorted_by_question(spans: _Spans) -> _Spans:
    """Questions in order, the best span first; of equal scores the earlier, then the shorter."""
    order = np.lexsort((spans.last, spans.first, -spans.score, spans.example))
    return _Spans(*(column[order] for column in spans))


def _check_inputs(examples: Sequence[Example], windows: Windows, logits: np.ndarray) -> None:
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

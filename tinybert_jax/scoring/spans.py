"""The best spans of each question, over all windows of all its passages, and the score of "no answer"."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from tinybert_jax.data.windows import Windows
from tinybert_jax.errors import check, check_choices, check_least, check_numbers

NoAnswer = Literal["auto", "allow", "never"]

MOST_SPANS = 10_000  # of a question, and from one token: both are columns of arrays
_BLOCK_SPANS = 1 << 21  # spans scored at once: 8 MB an array, whatever the data's size


@dataclass(frozen=True, slots=True)
class AnswerConfig:
    """How spans are chosen.

    Attributes:
        n_best: how many spans to keep for a question; probabilities are shares of these.
        max_answer_len: the longest span considered, in tokens.
        null_threshold: "no answer" is predicted where the null odds exceed it.
        no_answer: whether it may be predicted at all. With "auto", `evaluate` predicts it where the data has
            unanswerable questions, `Answerer` where the model was trained on such; if that is not known, "auto" is
            "allow".
    """

    n_best: int = 20
    max_answer_len: int = 30
    null_threshold: float = 0.0
    no_answer: NoAnswer = "auto"

    def __post_init__(self):
        check_choices(self)
        check_numbers(self)
        check_least(self, n_best=1, max_answer_len=1)
        for field in ("n_best", "max_answer_len"):
            check(field, getattr(self, field), getattr(self, field) <= MOST_SPANS, f"at most {MOST_SPANS}")

    def decided(self, has_unanswerable: bool | None) -> "AnswerConfig":
        """The same settings with "auto" replaced by what follows from the data, or the training; None: unknown."""
        if self.no_answer != "auto":
            return self
        return replace(self, no_answer="never" if has_unanswerable is False else "allow")

    def is_null(self, null_odds: float) -> bool:
        """Whether "no answer" is predicted at these odds."""
        return self.no_answer != "never" and null_odds > self.null_threshold


class Spans(NamedTuple):
    """S spans in columns, question by question, the best first; of equal scores the earlier, then the shorter.

    Each place of a passage is there once, with the best of the scores that overlapping windows gave it.
    """

    question: Int[np.ndarray, " S"]
    passage: Int[np.ndarray, " S"]  # index among all passages, those of all questions
    begin: Int[np.ndarray, " S"]  # characters of the passage: [begin, end)
    end: Int[np.ndarray, " S"]
    score: Float[np.ndarray, " S"]  # in logits: start plus end

    def by_question(self, count: int) -> Iterator["Spans"]:
        """The spans of each of `count` questions; some may have none."""
        bounds = np.searchsorted(self.question, np.arange(count + 1))
        for first, last in pairwise(bounds):
            yield Spans(*(column[first:last] for column in self))


def best_spans(
    windows: Windows,
    logits: Float[np.ndarray, "tokens 2"],
    config: AnswerConfig,
    question_of: Int[np.ndarray, " P"] | None = None,
) -> Spans:
    """The `n_best` best spans of each window, gathered by question.

    Every span of context tokens up to `max_answer_len` long takes part. Those that hold no character are left out.

    Args:
        windows: W windows of P passages; `windows.example` says which is whose.
        logits: start and end logits of every window's tokens, aligned with `windows.tokens`.
        config: how spans are chosen.
        question_of: the question that each passage belongs to; None where each passage is a question of its own.
    """
    found = _window_spans(windows, logits, config)
    begin, end = windows.offsets[found.first, 0], windows.offsets[found.last, 1]
    question = found.passage if question_of is None else question_of[found.passage]
    columns = Spans(question, found.passage, begin, end, found.score)
    order = np.lexsort((-columns.score, columns.end, columns.begin, columns.passage))
    columns = Spans(*(column[order] for column in columns))
    place = np.stack(columns[1:4])
    is_first = np.any(place[:, 1:] != place[:, :-1], axis=0)
    kept = np.append(True, is_first)[: len(order)] & (columns.begin < columns.end)
    columns = Spans(*(column[kept] for column in columns))
    order = np.lexsort((columns.end, columns.begin, columns.passage, -columns.score, columns.question))
    return Spans(*(column[order] for column in columns))


def null_scores(
    windows: Windows, logits: Float[np.ndarray, "tokens 2"], questions: int, question_of: np.ndarray | None = None
) -> list[float]:
    """Each question's score of "no answer": the lowest of its windows', a window's being that of its [CLS] token.

    One window that sees an answer is enough. Arguments as in `best_spans`; `questions` is how many there are.
    """
    owner = windows.example if question_of is None else question_of[windows.example]
    lowest = np.full(questions, np.inf, np.float32)
    np.minimum.at(lowest, owner, logits[windows.row_splits[:-1]].sum(axis=1))
    return lowest.tolist()


def padded_options(
    spans: Spans, null_scores: Float[np.ndarray, " Q"], n_best: int
) -> Float[np.ndarray, "Q {n_best}+1"]:
    """The scores among which each question's answer is chosen: "no answer", the best spans, and minus infinity."""
    options = np.full((len(null_scores), n_best + 1), -np.inf)
    options[:, 0] = null_scores
    for row, own in zip(options, spans.by_question(len(options)), strict=True):
        scores = own.score[:n_best]
        row[1 : 1 + len(scores)] = scores
    return options


class _Found(NamedTuple):
    """Spans as windows give them: passage, score, first and last token (flat)."""

    passage: Int[np.ndarray, " S"]
    score: Float[np.ndarray, " S"]
    first: Int[np.ndarray, " S"]
    last: Int[np.ndarray, " S"]


def _window_spans(windows: Windows, logits: Float[np.ndarray, "tokens 2"], config: AnswerConfig) -> _Found:
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
    empty = _Found(*(np.empty(0, dtype) for dtype in (np.int32, np.float32, np.int64, np.int64)))
    return _Found(*(np.concatenate(column) for column in zip(empty, *blocks, strict=True)))


def _block_spans(
    windows: Windows,
    logits: Float[np.ndarray, "tokens 2"],
    rows: Int[np.ndarray, " B"],
    lengths: Int[np.ndarray, " B"],
    config: AnswerConfig,
) -> _Found:
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
    passage = np.broadcast_to(windows.example[rows][:, None], best.shape)
    columns = passage, best_scores, first, first + best % width
    return _Found(*(column[np.isfinite(best_scores)] for column in columns))


def _top(values: Float[np.ndarray, "B X"], n: int) -> Int[np.ndarray, "B K"]:
    """Indices of the K = min(n, X) largest values of each row, in no particular order."""
    n = min(n, values.shape[1])
    return np.argpartition(values, values.shape[1] - n, axis=1)[:, -n:]

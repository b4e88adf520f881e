"""Text in, text out: a question and passages to the answer's very characters."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Float

from tinybert_jax.data import Example, build_windows
from tinybert_jax.data.question_lines import Passages, check_text
from tinybert_jax.errors import UserError
from tinybert_jax.inference.loading import load
from tinybert_jax.inference.network import Network
from tinybert_jax.inference.predict import predict_logits
from tinybert_jax.inference.settings import QASettings
from tinybert_jax.model.config import Dtype
from tinybert_jax.scoring import NO_SPAN_ODDS, Spans, best_spans, check_inputs, null_scores
from tinybert_jax.scoring.spans import MOST_SPANS

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

_BLOCK_BATCHES = 16  # batches' worth of questions taken together, so that batches hold passages of like lengths


class Answer(NamedTuple):
    """An answer, or "no answer", whose text is empty.

    Attributes:
        text: `passage[start:end]`, always.
        start: its first character in the passage.
        end: the character after its last.
        score: the start logit plus the end logit; of "no answer", those of the [CLS] token.
        probability: its part in a softmax over the question's best spans (`AnswerConfig.n_best` of them, from all
            passages) and "no answer", logits divided by the model's temperature. Where "no answer" is never given, it
            takes no part. It is as trustworthy as the model was calibrated: see `tinybert calibrate`.
        null_odds: how much the model favours "no answer" over the best span, in logits; the same for all answers to a
            question.
        passage: the number of the passage, from 0; None for "no answer".
    """

    text: str
    start: int
    end: int
    score: float
    probability: float
    null_odds: float
    passage: int | None = None


class Answerer:
    """Answers questions about passages.

        answerer = Answerer.load("runs/x/export")
        answerer("Who wrote it?", "It was written by Ada.").text

    Attributes:
        settings: how it answers: windows, threshold, temperature; the model's own unless replaced.
    """

    def __init__(
        self,
        network: Network,
        tokenizer: "PreTrainedTokenizerFast",
        settings: QASettings = QASettings(),
        *,
        batch_size: int = 32,
    ) -> None:
        """Puts the parts together; `load` does so for a model by name.

        Args:
            network: what computes logits.
            tokenizer: the one that the network was trained with.
            settings: how to answer; windows are shortened to the network's position table.
            batch_size: the most windows in a forward pass.
        """
        self._network, self._tokenizer, self._batch_size = network, tokenizer, batch_size
        fitted = settings.windows.fitted(network.config.max_positions)
        self.settings = replace(settings, answers=settings.answering, windows=fitted)

    @classmethod
    def load(cls, name_or_path: str | Path, *, dtype: Dtype = "float32", batch_size: int = 32) -> "Answerer":
        """Loads a model from a folder or from the hub.

        Args:
            name_or_path: as in `inference.loading.load`.
            dtype: what matrix products compute in.
            batch_size: the most windows in a forward pass.

        Raises:
            UserError: as `inference.loading.load`.
        """
        return cls(*load(name_or_path, dtype), batch_size=batch_size)

    def __call__(self, question: str, passages: Passages) -> Answer:
        """The answer to one question about a passage, or about several that are searched together.

        Raises:
            UserError: as `many`.
        """
        return next(self.many([(question, passages)]))[0]

    def many(self, pairs: Iterable[tuple[str, Passages]], top_k: int = 1) -> Iterator[list[Answer]]:
        """Answers question after question, in their order; they are read as answers are asked for.

        Args:
            pairs: questions, each with a passage or several.
            top_k: how many answers at most to each question.

        Yields:
            The answers to a question, the first of which is what the model says: that may be "no answer", after which
            the best spans follow. Spans that overlap are one place, of which the best span is kept.

        Raises:
            UserError: a question or a passage holds nothing but spaces, or is no valid text; `top_k` is below 1; or a
                logit is not finite.
        """
        if top_k < 1:
            raise UserError(f"top_k must be at least 1, got {top_k}")
        iterator, first = iter(pairs), 0
        while block := list(islice(iterator, _BLOCK_BATCHES * self._batch_size)):
            yield from self._answer(block, first, top_k)
            first += len(block)

    def _answer(self, pairs: list[tuple[str, Passages]], first: int, top_k: int) -> Iterator[list[Answer]]:
        """The answers to a block of questions, which is numbered from `first` on."""
        examples, question_of = [], []
        for number, (question, passages) in enumerate(pairs):
            several: Sequence[str] = [passages] if isinstance(passages, str) else passages
            if not several:
                raise UserError(f"pair {first + number} has no passage: a question needs a passage at least")
            for passage in several:
                check_text(question, passage, f"pair {first + number}")
                examples.append(Example(str(first + number), question, passage, ()))
                question_of.append(number)
        owner = np.array(question_of, np.int32)
        windows = build_windows(examples, self._tokenizer, self.settings.windows)
        # Rows that are filled up cost as much as real ones, and each size is compiled: powers of two are few.
        rows = min(self._batch_size, 1 << (len(windows) - 1).bit_length())
        lengths = self._network.lengths(self.settings.windows.max_seq_len)
        logits = predict_logits(self._network, windows, batch_size=rows, buckets=lengths, label=None)
        check_inputs(examples, windows, logits)
        # Of a window's best spans many share a place: where several places are asked for, more are looked at.
        wide = replace(self.settings.answers, n_best=min(self.settings.answers.n_best * top_k, MOST_SPANS))
        spans = best_spans(windows, logits, wide, owner)
        begins = np.searchsorted(owner, np.arange(len(pairs)))
        nulls = null_scores(windows, logits, len(pairs), owner)
        for begin, own, null_score in zip(begins.tolist(), spans.by_question(len(pairs)), nulls, strict=True):
            yield self._rank(own, null_score, examples, begin)[:top_k]

    def _rank(self, spans: Spans, null_score: float, examples: list[Example], begin: int) -> list[Answer]:
        """A question's answers, best first; its passages are `examples` from `begin` on."""
        config = self.settings.answers
        odds = null_score - float(spans.score[0]) if len(spans.score) else NO_SPAN_ODDS
        options = spans.score[: config.n_best]
        if config.no_answer != "never" or not len(options):
            options = np.append(options, np.float32(null_score))
        probability = span_probability(options, self.settings.temperature)
        answers, taken = [], []
        if not len(spans.score) or config.is_null(odds):
            answers.append(Answer("", 0, 0, null_score, probability(null_score), odds))
        columns = (column.tolist() for column in spans[1:])
        for example, start, end, score in zip(*columns, strict=True):
            if all(other != example or end <= low or high <= start for other, low, high in taken):
                taken.append((example, start, end))
                text = examples[example].context[start:end]
                answers.append(Answer(text, start, end, score, probability(score), odds, example - begin))
        return answers


def span_probability(options: Float[np.ndarray, " K"], temperature: float) -> Callable[[float], float]:
    """Returns the function from a score to its part in the softmax over the scores `options`."""
    scaled = options.astype(np.float64) / temperature
    highest = scaled.max()
    log_total = highest + np.log(np.exp(scaled - highest).sum())
    return lambda score: float(np.exp(score / temperature - log_total))

"""Questions and contexts, tokenised and cut into windows that fit a model, with labels and offsets.

A window is "[CLS] question [SEP] context [SEP]" for BERT, "<s> question </s></s> context </s>" for RoBERTa and its
relatives; below, [CLS] and [SEP] stand for either's. Left out: padding, which is a batch's business.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, fields, replace
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from tinybert_jax.data.character_ranges import character_ranges
from tinybert_jax.data.example import Example
from tinybert_jax.data.prefetch import prefetch
from tinybert_jax.data.tokenizer import bare_backend
from tinybert_jax.errors import UserError, check_choices, check_least, check_numbers

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast


@dataclass(frozen=True)
class WindowConfig:
    """How windows are cut; all in tokens.

    Attributes:
        max_seq_len: the longest window, question and special tokens included.
        doc_stride: the overlap of consecutive windows of a context, or the step between them, as `stride_means` says.
        stride_means: the "overlap" of two windows (BERT's name for it in transformers), or the "step" from the first
            context token of one to that of the next (BERT's own script, haystack).
        max_question_len: where longer questions are cut.
    """

    max_seq_len: int = 384
    doc_stride: int = 128
    max_question_len: int = 64
    stride_means: Literal["overlap", "step"] = "overlap"

    def fitted(self, positions: int) -> "WindowConfig":
        """The same, shortened to a model's position table where that is shorter, and their overlap in proportion."""
        if self.max_seq_len <= positions:
            return self
        return replace(self, max_seq_len=positions, doc_stride=self.doc_stride * positions // self.max_seq_len)

    def __post_init__(self) -> None:
        check_numbers(self)
        check_least(self, max_seq_len=1, doc_stride=1 if self.stride_means == "step" else 0, max_question_len=1)
        check_choices(self)


@dataclass(frozen=True, eq=False)
class Windows:
    """W windows in columns; a question's windows are consecutive.

    The token columns are flat, window after window, unpadded: window w is `row_splits[w]:row_splits[w + 1]`.
    The arrays may be memory-mapped.
    """

    tokens: np.ndarray  # (total,) int32
    offsets: np.ndarray  # (total, 2) int32: each token's `character_ranges` in the context; -1, -1 elsewhere
    row_splits: np.ndarray  # (W + 1,) int64
    context_begin: np.ndarray  # (W,) int32: position of the first context token; the context ends at length - 1
    example: np.ndarray  # (W,) int32: index of the question among the examples
    start: np.ndarray  # (W,) int32: label position; 0 ([CLS]) where the window does not hold the answer
    end: np.ndarray  # (W,) int32, inclusive

    def __len__(self) -> int:
        return len(self.row_splits) - 1

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each window: (W,) int64."""
        return np.diff(self.row_splits)

    def slice(self, begin: int, end: int) -> "Windows":
        """The windows `begin` to `end - 1`; the columns but for `row_splits` are views."""
        splits = self.row_splits[begin : end + 1]
        tokens, rows = slice(splits[0], splits[-1]), slice(begin, end)
        return Windows(
            self.tokens[tokens],
            self.offsets[tokens],
            splits - splits[0],
            self.context_begin[rows],
            self.example[rows],
            self.start[rows],
            self.end[rows],
        )


def build_windows(examples: Sequence[Example], tokenizer: "PreTrainedTokenizerFast", config: WindowConfig) -> Windows:
    """Tokenises the examples and cuts them into windows.

    The label is the first answer's token span where the window holds all of it, else (0, 0). An answer that
    meets no token (say, a lone space) is labelled with the next token, or the last one if none follows. An
    empty context gives one window without context tokens.

    Raises:
        UserError: a context needs several windows, and its question leaves no room for them to advance.
    """
    blocks = list(window_blocks(examples, tokenizer, config))
    columns = {field.name: np.concatenate([vars(block)[field.name] for block in blocks]) for field in fields(Windows)}
    lengths = np.concatenate([block.lengths for block in blocks])
    return Windows(**columns | {"row_splits": _splits(lengths)})


def window_blocks(
    examples: Iterable[Example],
    tokenizer: "PreTrainedTokenizerFast",
    config: WindowConfig,
    size: int = 4096,
    first: int = 0,
) -> Iterator[Windows]:
    """Yields `build_windows`' windows block by block; the last block may hold none.

    While a block is cut, the next one is tokenised in another thread, which the tokenizers library lets run.

    Args:
        examples: iterated, never held.
        tokenizer: as in `build_windows`.
        config: as in `build_windows`.
        size: examples a block. The tokenizer's own results take some 100 bytes a token.
        first: which of all examples the first of these is.

    Raises:
        UserError: as `build_windows`.
    """
    with closing(prefetch(_tokenise(examples, bare_backend(tokenizer), size), depth=1)) as blocks:
        for tokenised in blocks:
            windows = _cut_block(tokenised, tokenizer, config)
            yield replace(windows, example=windows.example + np.int32(first))
            first += len(tokenised.examples)


class _Tokenised(NamedTuple):
    """A block of examples, and the tokenizers library's results."""

    examples: list[Example]
    questions: list[Any]
    texts: dict[str, int]  # the distinct contexts, numbered in order
    contexts: list[Any]


def _tokenise(examples: Iterable[Example], backend: "Tokenizer", size: int) -> Iterator[_Tokenised]:
    iterator = iter(examples)
    while True:
        block = list(islice(iterator, size))
        texts = {text: i for i, text in enumerate(dict.fromkeys(example.context for example in block))}
        questions = backend.encode_batch_fast([example.question for example in block], add_special_tokens=False)
        yield _Tokenised(block, questions, texts, backend.encode_batch(list(texts), add_special_tokens=False))
        if len(block) < size:
            return


def _cut_block(tokenised: _Tokenised, tokenizer: "PreTrainedTokenizerFast", config: WindowConfig) -> Windows:
    """The windows of a block."""
    examples, texts = tokenised.examples, tokenised.texts
    backend = tokenizer.backend_tokenizer
    separators = backend.num_special_tokens_to_add(is_pair=True) - 2  # of question and context
    questions, contexts = _read(tokenised.questions), _read(tokenised.contexts)
    context_ranges = character_ranges(tokenised.contexts, list(texts), backend)
    context_of = np.fromiter((texts[example.context] for example in examples), np.int64, len(examples))

    question_len = np.minimum(questions.lengths, config.max_question_len)
    room = config.max_seq_len - (1 + question_len + separators + 1)
    example, piece_begin, piece_len = _cut(examples, question_len, contexts.lengths[context_of], room, config)
    question_len = question_len[example]
    context_begin = 1 + question_len + separators
    row_splits = _splits(context_begin + piece_len + 1)
    row_begin = row_splits[:-1]

    cls_id, sep_id = np.array([tokenizer.cls_token_id, tokenizer.sep_token_id], np.int32)
    tokens = np.full(row_splits[-1], sep_id)
    tokens[row_begin] = cls_id
    tokens[_ranges(row_begin + 1, question_len)] = questions.ids[_ranges(questions.splits[example], question_len)]
    pairs = np.full(row_splits[-1], -1)  # each two int32 in one int64, which moves faster
    target = _ranges(row_begin + context_begin, piece_len)
    source = _ranges(contexts.splits[context_of[example]] + piece_begin, piece_len)
    tokens[target] = contexts.ids[source]
    pairs[target] = context_ranges.ravel().view(np.int64)[source]
    offsets = pairs.view(np.int32).reshape(-1, 2)

    answer = _answer_tokens(examples, contexts, context_ranges, context_of)[:, example] - piece_begin
    held = (answer[0] >= 0) & (answer[1] < piece_len)
    start, end = np.where(held, answer + context_begin, 0).astype(np.int32)
    return Windows(tokens, offsets, row_splits, context_begin.astype(np.int32), example.astype(np.int32), start, end)


class _Encoded(NamedTuple):
    ids: np.ndarray  # (total,) int32, text after text
    splits: np.ndarray  # (texts + 1,) int64

    @property
    def lengths(self) -> np.ndarray:
        return np.diff(self.splits)


def _read(encodings: list[Any]) -> _Encoded:
    """The tokenizers library's results as arrays."""
    lengths = np.fromiter(map(len, encodings), np.int64, len(encodings))
    ids = np.fromiter(chain.from_iterable(encoding.ids for encoding in encodings), np.int32, lengths.sum())
    return _Encoded(ids, _splits(lengths))


def _splits(lengths: np.ndarray) -> np.ndarray:
    """Where each of consecutive rows begins, and the last one ends."""
    return np.concatenate([[0], np.cumsum(lengths)])


def _ranges(begins: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Returns the concatenation of `arange(begin, begin + length)` over the rows."""
    return np.arange(lengths.sum()) + np.repeat(begins - (np.cumsum(lengths) - lengths), lengths)


def _cut(
    examples: Sequence[Example],
    question_len: np.ndarray,
    context_len: np.ndarray,
    room: np.ndarray,
    config: WindowConfig,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns each window's example and its piece of the context, as first token and length: (W,) each."""
    overlap = config.stride_means == "overlap"
    step = room - config.doc_stride if overlap else np.full_like(room, config.doc_stride)
    stuck = np.flatnonzero((context_len > room) & ((step < 1) | (step > room)))
    if len(stuck):
        i = stuck[0]
        need = ("overlap by", "advance") if overlap else ("advance by", "leave no token out")
        raise UserError(
            f"question {examples[i].id!r} ({question_len[i]} tokens) leaves {max(room[i], 0)} tokens of "
            f"max_seq_len = {config.max_seq_len} to its context of {context_len[i]}, and windows that "
            f"{need[0]} doc_stride = {config.doc_stride} need more to {need[1]}: "
            "raise max_seq_len, or lower doc_stride or max_question_len"
        )
    rest = np.maximum(context_len - room, 0)  # what the first window does not hold
    count = 1 - -rest // np.maximum(step, 1)
    example = np.repeat(np.arange(len(examples)), count)
    piece_begin = _ranges(np.zeros_like(count), count) * step[example]
    return example, piece_begin, np.minimum(room[example], context_len[example] - piece_begin)


def _answer_tokens(
    examples: Sequence[Example], contexts: _Encoded, ranges: np.ndarray, context_of: np.ndarray
) -> np.ndarray:
    """Returns each first answer's first and last token within its context: (2, E); -1 without an answer."""
    chars = np.full((len(examples), 2), -1, np.int64)
    for i, example in enumerate(examples):
        if example.answers:
            text, start = example.answers[0]
            chars[i] = start, start + len(text)
    width = 1 + np.max(ranges, initial=0)  # makes (context, character) one sorted number
    owner = np.repeat(np.arange(len(contexts.lengths)), contexts.lengths) * width
    wanted = context_of * width + np.clip(chars, 0, width - 1).T
    before = contexts.splits[context_of]
    first = np.searchsorted(owner + ranges[:, 1], wanted[0], side="right") - before
    last = np.searchsorted(owner + ranges[:, 0], wanted[1], side="left") - 1 - before
    first = np.minimum(first, contexts.lengths[context_of] - 1)
    return np.where(chars[:, 0] >= 0, [first, np.maximum(first, last)], -1)

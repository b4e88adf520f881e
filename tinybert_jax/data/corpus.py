"""A corpus as rows of tokens: tokenised once, packed without padding, kept in the cache and memory-mapped.

A row is [CLS], text, [SEP], as long as it may be but for the corpus' last. Documents follow on another, each ended by a
[SEP]; one that does not fit goes on in the next row. All token types are 0.
"""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tinybert_jax.data.corpus_text import CorpusText, Piece
from tinybert_jax.data.tokenizer import bare_backend
from tinybert_jax.data.windows import Windows
from tinybert_jax.errors import UserError, check
from tinybert_jax.store.cache import Entry
from tinybert_jax.store.digests import new_key
from tinybert_jax.store.npy import NpyWriter
from tinybert_jax.store.shares import fill_together

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

_BLOCK = 1 << 20  # characters tokenised at a time
_HELD_OUT_EVERY = 100  # rows
_PARTS = "train", "held_out"


class Corpus(NamedTuple):
    """A corpus' rows, as windows without a question.

    Attributes:
        train: those to train on.
        held_out: one in a hundred, and at least one, which is not trained on.
        key: a hash of all that decides them.
    """

    train: Windows
    held_out: Windows
    key: str


def load_corpus(text: CorpusText, tokenizer: "PreTrainedTokenizerFast", length: int, cache_dir: Path) -> Corpus:
    """Tokenises and packs a corpus, unless the cache holds it.

    Args:
        text: what to read.
        tokenizer: the models'.
        length: of a row, in tokens, special ones included.
        cache_dir: the cache's folder.

    Raises:
        UserError: the corpus cannot be read, or fills fewer than two rows; or the cache cannot be written to.
    """
    check("windows.max_seq_len", length, length >= 3, "at least 3, or a row holds no text")
    key = new_key(length, bare_backend(tokenizer).to_str(), *text.digests()).hexdigest()

    def make(entry: Entry, _: range) -> None:
        with entry.adding() as folder:
            _write(folder, pack(_tokenised(text.pieces(), bare_backend(tokenizer)), tokenizer, length))

    folder = fill_together(Entry(Path(cache_dir), "corpus", key), 1, make)
    train, held_out = (_read(folder, part) for part in _PARTS)
    return Corpus(train, held_out, key)


def pack(
    documents: Iterable[tuple[np.ndarray, bool]], tokenizer: "PreTrainedTokenizerFast", length: int
) -> Iterator[np.ndarray]:
    """Yields rows of `length` tokens; one is a token shorter where a document ends just before its end.

    Args:
        documents: tokens of a part of a document, and whether it ends there.
        tokenizer: whose [CLS] and [SEP] they get.
        length: at least 3.
    """
    cls: Any = tokenizer.cls_token_id  # transformers allows for tokenizers without
    sep: Any = tokenizer.sep_token_id
    body, waiting, held, is_open = length - 2, [np.empty(0, np.int32)], 0, False
    for ids, ends in documents:
        is_open |= bool(len(ids))
        waiting.append(np.append(ids, np.int32(sep)) if ends and is_open else ids)
        is_open &= not ends
        held += len(waiting[-1])
        if held < body:
            continue
        stream, begin = np.concatenate(waiting), 0
        while len(stream) - begin >= body:
            if stream[begin] == sep:  # its document has ended with the row before
                begin += 1
                continue
            yield _row(cls, stream[begin : begin + body], sep)
            begin += body
        waiting, held = [stream[begin:]], len(stream) - begin
    rest = np.concatenate(waiting)
    rest = rest[1:] if len(rest) and rest[0] == sep else rest
    if len(rest):
        yield _row(cls, rest, sep)


def _row(cls: int, part: np.ndarray, sep: int) -> np.ndarray:
    end = [] if part[-1] == sep else [sep]
    return np.concatenate([[cls], part, end]).astype(np.int32)


def _tokenised(pieces: Iterable[Piece], backend: "Tokenizer") -> Iterator[tuple[np.ndarray, bool]]:
    block: list[Piece] = []
    characters = 0

    def tokenise() -> Iterator[tuple[np.ndarray, bool]]:
        encodings = backend.encode_batch_fast([piece.text for piece in block], add_special_tokens=False)
        for encoding, piece in zip(encodings, block, strict=True):
            yield np.array(encoding.ids, np.int32), piece.ends

    for piece in pieces:
        block.append(piece)
        characters += len(piece.text) + 1
        if characters >= _BLOCK:
            yield from tokenise()
            block, characters = [], 0
    yield from tokenise()


def _write(folder: Path, rows: Iterable[np.ndarray]) -> None:
    from tqdm import tqdm

    with ExitStack() as stack:
        columns = {
            name: stack.enter_context(NpyWriter(folder / f"{name}.npy", dtype))
            for part in _PARTS
            for name, dtype in ((f"{part}_tokens", np.int32), (f"{part}_row_splits", np.int64))
        }
        for part in _PARTS:
            columns[f"{part}_row_splits"].append(np.zeros(1))
        for number, row in enumerate(tqdm(rows, desc="packing", unit="row", disable=None, leave=False)):
            part = _PARTS[number % _HELD_OUT_EVERY == 1]
            columns[f"{part}_tokens"].append(row)
            columns[f"{part}_row_splits"].append(np.array([columns[f"{part}_tokens"].rows]))
        if columns["held_out_tokens"].rows == 0:
            raise UserError(
                "the corpus must fill at least two rows, one of which is held out of training, and does not: give more "
                "text, or lower --windows.max-seq-len"
            )


def _read(folder: Path, part: str) -> Windows:
    tokens, splits = (np.load(folder / f"{part}_{name}.npy", mmap_mode="r") for name in ("tokens", "row_splits"))
    # Views of one number each: nothing reads more than the tokens, and all of these are question, of token type 0.
    none, all_ = np.broadcast_to(np.int32(0), len(splits) - 1), np.broadcast_to(np.int32(2**31 - 1), len(splits) - 1)
    return Windows(tokens, np.broadcast_to(np.int32(-1), (len(tokens), 2)), splits, all_, none, none, none)

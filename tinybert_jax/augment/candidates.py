"""What can replace each word of a data set, found once by a masked LM and GloVe, and kept on disk as Arrow.

The cache fills block by block, each a file: however a run ended, the next one computes the blocks that are missing.
Drawing copies reads from the first block to the last and holds one at a time.
"""

import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tinybert_jax.augment.copies import Replaceable, cased_like, check_ids, join_words
from tinybert_jax.augment.glove import load_glove, nearest_words
from tinybert_jax.augment.masked_words import MaskedWord, SpecialTokens, WordPredictor
from tinybert_jax.augment.rules import AugmentConfig, may_replace, word_allowed
from tinybert_jax.augment.words import Words, replaceable_ids, split_words
from tinybert_jax.data import Example, load_tokenizer
from tinybert_jax.data.tokenizer import bare_backend, check_ids_fit
from tinybert_jax.errors import UserError
from tinybert_jax.model import BertConfig
from tinybert_jax.model.pretrained import load_trained
from tinybert_jax.store.arrow import read_batches, write_rows
from tinybert_jax.store.cache import Entry
from tinybert_jax.store.digests import add_params, new_key
from tinybert_jax.store.shares import fill_together
from tinybert_jax.tracking import Tracker

Paragraph = Sequence[Example]

_BLOCK = 64  # paragraphs: the most that a killed run loses


class MaskedLM(NamedTuple):
    """A BERT with its masked-LM head, and its tokenizer."""

    config: BertConfig
    params: dict[str, Any]
    tokenizer: Any


def load_masked_lm(name_or_path: str) -> MaskedLM:
    """Loads a BERT that must have a trained masked-LM head.

    Raises:
        UserError: as `load_pretrained` and `load_tokenizer`, there is no such head, or a token without an embedding.
    """
    complaint = "is an encoder without a masked-LM head: augmentation needs one, as google-bert/bert-base-uncased has"
    config, params = load_trained(name_or_path, "masked-lm", complaint)
    tokenizer = load_tokenizer(name_or_path)
    check_ids_fit(name_or_path, tokenizer, config.vocab_size)
    return MaskedLM(config, params, tokenizer)


class Candidates:
    """The candidates of a data set's words; computed where the cache does not hold them."""

    def __init__(self, paragraphs: Sequence[Paragraph], lm: MaskedLM, config: AugmentConfig, cache_dir: Path) -> None:
        """Names what the cache is asked for; nothing is computed yet.

        Args:
            paragraphs: the data set.
            lm: the model that `config.model` names.
            config: what may be replaced, and how candidates are found.
            cache_dir: the cache's folder.

        Raises:
            UserError: the data holds copies already, or there is no such GloVe file.
        """
        check_ids(dict.fromkeys(example.id for paragraph in paragraphs for example in paragraph))
        self.paragraphs, self.config = paragraphs, config
        self._lm = lm
        self.key = _key(paragraphs, lm, config)
        self._entry = Entry(cache_dir, "candidates", self.key)
        self.folder = self._entry.path

    def compute(self) -> None:
        """Computes the blocks that are missing.

        Raises:
            UserError: unreadable GloVe vectors, or tokens that are not a BERT's.
        """
        fill_together(self._entry, len(self._blocks()), self._add_missing)

    def __iter__(self) -> Iterator[Replaceable]:
        """What can be replaced in each paragraph, in order; `compute` must have run."""
        for name in self._blocks():
            for batch in read_batches(self.folder / name, _schema(), "candidates"):
                for row in batch.to_pylist():
                    yield Replaceable(**row)

    def _blocks(self) -> dict[str, Sequence[Paragraph]]:
        """The paragraphs of each file."""
        firsts = range(0, len(self.paragraphs), _BLOCK)
        return {f"{i:06d}.arrow": self.paragraphs[first : first + _BLOCK] for i, first in enumerate(firsts)}

    def _add_missing(self, entry: Entry, blocks: range) -> None:
        named = list(self._blocks().items())
        missing = [i for i in blocks if named[i][0] not in entry.parts]
        if not missing:
            return
        finder = _Finder(self.paragraphs, self._lm, self.config, entry.root)
        settings = {"total_steps": blocks.stop, "start_step": missing[0], "log_every": 1}
        with Tracker(entry.path, stage="candidates", **settings) as tracker:
            for i in missing:
                began, (name, paragraphs) = time.perf_counter(), named[i]
                found = finder.find(paragraphs)
                with entry.adding() as folder:
                    write_rows(folder / name, _schema(), (some._asdict() for some in found), _BLOCK)
                words = sum(len(replaceable.begin) for replaceable in found)
                speed = words / (time.perf_counter() - began)
                tracker.record(i + 1, {"words": np.int64(words), "words_per_second": np.float64(speed)})


def _schema() -> Any:
    import pyarrow as pa

    places, words = pa.list_(pa.int32()), pa.list_(pa.list_(pa.string()))
    return pa.schema([("text", pa.string()), ("begin", places), ("end", places), ("candidates", words)])


def _key(paragraphs: Sequence[Paragraph], lm: MaskedLM, config: AugmentConfig) -> str:
    """Hashes all that decides the candidates."""
    glove = None
    if config.glove is not None:
        try:
            status = config.glove.stat()
        except OSError as error:
            raise UserError(f"cannot read the GloVe vectors {config.glove}: {error.strerror or error}") from error
        glove = (config.glove.name, status.st_size, status.st_mtime_ns)
    ingredients = (_BLOCK, lm.config, replace(config.of_candidates, model="", glove=None), glove)
    key = new_key(*ingredients)
    key.update(bare_backend(lm.tokenizer).to_str().encode())
    add_params(key, lm.params)
    for paragraph in paragraphs:
        answers = {answer for example in paragraph for answer in example.answers}
        key.update(repr((paragraph[0].context, sorted(answers))).encode())
    return key.hexdigest()


class _Finder:
    """Finds the candidates of a block's words, with all that this needs in memory."""

    def __init__(self, paragraphs: Sequence[Paragraph], lm: MaskedLM, config: AugmentConfig, cache: Path) -> None:
        self._tokenizer, self._config, rules = lm.tokenizer, config, config.rules
        self._vocabulary = {id_: token for token, id_ in lm.tokenizer.get_vocab().items()}  # ids may have gaps
        special = SpecialTokens(lm.tokenizer.cls_token_id, lm.tokenizer.sep_token_id, lm.tokenizer.mask_token_id)
        self._predictor = WordPredictor(
            replace(lm.config, dtype=config.dtype),
            lm.params,
            special,
            replaceable_ids(lm.tokenizer, self._allowed),
            count=config.candidates,
            context=rules.context,
            pair=rules.pair,
        )
        self._neighbours: dict[str, list[str]] = {}
        if config.glove is None:
            warnings.warn("no GloVe vectors were given: words of several pieces stay as they are", stacklevel=2)
            return
        glove = load_glove(config.glove, cache, rules.glove_words)
        unknown = {
            words.normalized[w].lower()
            for paragraph, words in zip(paragraphs, self._words(paragraphs), strict=True)
            for w in np.flatnonzero(may_replace(words, paragraph, rules) & ~self._single(words))
        }
        self._neighbours = nearest_words(glove, sorted(unknown), config.candidates, self._allowed)

    def find(self, paragraphs: Sequence[Paragraph]) -> list[Replaceable]:
        """The words of each paragraph that can be replaced, and by what."""
        split = list(self._words(paragraphs))
        found: list[dict[int, list[str]]] = []
        masked: list[tuple[int, int]] = []
        for p, (paragraph, words) in enumerate(zip(paragraphs, split, strict=True)):
            allowed, single = may_replace(words, paragraph, self._config.rules), self._single(words)
            masked += [(p, w) for w in np.flatnonzero(allowed & single).tolist()]
            others = np.flatnonzero(allowed & ~single).tolist()
            found.append({w: self._neighbours.get(words.normalized[w].lower(), []) for w in others})
        sequences = [MaskedWord(split[p].pieces, int(split[p].splits[w])) for p, w in masked]
        for index, ids in self._predictor.predict(sequences):
            p, w = masked[index]
            found[p][w] = [self._vocabulary[id_] for id_ in ids]
        return [self._replaceable(*some) for some in zip(paragraphs, split, found, strict=True)]

    def _replaceable(self, paragraph: Paragraph, words: Words, found: dict[int, list[str]]) -> Replaceable:
        text = paragraph[0].context
        if self._config.rules.spacing == "single":
            text, words = join_words(words)
        places = [(w, int(words.begin[w]), int(words.end[w])) for w in sorted(found) if found[w]]
        candidates = [[cased_like(candidate, text[begin:end]) for candidate in found[w]] for w, begin, end in places]
        return Replaceable(text, [begin for _, begin, _ in places], [end for _, _, end in places], candidates)

    def _words(self, paragraphs: Sequence[Paragraph]) -> Iterator[Words]:
        for first in range(0, len(paragraphs), _BLOCK):
            yield from split_words([some[0].context for some in paragraphs[first : first + _BLOCK]], self._tokenizer)

    def _single(self, words: Words) -> np.ndarray:
        """Which words are one piece that the vocabulary has: (W,) bool."""
        first = words.pieces[words.splits[:-1]]
        return (np.diff(words.splits) == 1) & (first != self._tokenizer.unk_token_id)

    def _allowed(self, word: str) -> bool:
        return word_allowed(word, self._config.rules)

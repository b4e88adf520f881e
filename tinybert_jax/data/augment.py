"""TinyBERT's data augmentation (Jiao et al. 2020, section 3.2): copies of paragraphs with some words replaced.

What can replace a word is found once a paragraph, by a masked language model and GloVe (`run.candidates`); the
functions here say which words may be replaced, and draw any number of copies from what was found. Questions are never
changed. Every (paragraph, copy) has a random key of its own, made of the seed, the paragraph's text and the copy's
number: neither other paragraphs nor the number of copies change it.
"""

import hashlib
import itertools
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from tinybert_jax.data.squad import Answer, Example
from tinybert_jax.data.stop_words import STOP_WORDS
from tinybert_jax.data.words import Words
from tinybert_jax.errors import UserError


@dataclass(frozen=True)
class AugmentRules:
    """What is replaced by what, and what becomes of the rest.

    Attributes:
        words: which words may be replaced: "any" (numbers and punctuation too), "letters" (of any script), or "a-z".
        stop_words: replace the words of grammar too, the English ones.
        pair: show the masked LM the whole text behind the masked one, "[CLS] masked [SEP] original [SEP]".
        context: the longest sequence the masked LM reads, in tokens; of longer texts, what is around the word.
        glove_words: how many of GloVe's words, from its first, are considered; None for all.
        answers: "keep" leaves the words of answers alone and moves the answers' offsets along; "empty" replaces them
            like any other and calls every question impossible.
        originals: put each paragraph before its copies.
        distinct: leave out copies that equal the original or an earlier copy.
        spacing: "kept" changes nothing but the replaced words; "single" makes the text its words as the tokenizer
            reads them (lower-cased, where it lower-cases), joined by single spaces.
    """

    words: Literal["any", "letters", "a-z"] = "letters"
    stop_words: bool = False
    pair: bool = False
    context: int = 128
    glove_words: int | None = None
    answers: Literal["keep", "empty"] = "keep"
    originals: bool = True
    distinct: bool = True
    spacing: Literal["kept", "single"] = "kept"

    def __post_init__(self) -> None:
        if self.spacing == "single" and self.answers == "keep":
            raise UserError('spacing "single" moves answers to where they cannot be found: it needs answers "empty"')
        if self.context < 16:
            raise UserError(f"context must be at least 16 tokens, got {self.context}")
        if self.glove_words is not None and self.glove_words < 1:
            raise UserError(f"glove_words must be at least 1, got {self.glove_words}")


# haystack's augment_squad, which the model card's student was trained on. Departures: its candidates were what was
# left of the masked LM's first k without "##" pieces, and could be the word itself; here they are k other words.
# Its ids repeated, and words beyond position 510 were never replaced.
HAYSTACK = AugmentRules(
    words="any",
    stop_words=True,
    context=512,
    glove_words=100_000,
    answers="empty",
    originals=False,
    distinct=False,
    spacing="single",
)
# The release of TinyBERT's authors, written for sentences without answers. Departures: candidates as above, and of the
# same kind as the words they replace; the text outside of these stays as it is, where theirs became lower-case words
# joined by spaces.
HUAWEI = AugmentRules(words="a-z", pair=True, context=512)
RECOMMENDED = AugmentRules()
AUGMENT_PRESETS = {"haystack": HAYSTACK, "huawei": HUAWEI, "recommended": RECOMMENDED}


@dataclass(frozen=True)
class AugmentConfig:
    """An augmentation: its models and its figures.

    Attributes:
        copies: of each paragraph.
        model: a BERT with its masked-LM head, a hub id or a folder.
        glove: GloVe vectors, text or zip, for words of several pieces; without them those words stay.
        probability: of each word that can be replaced, to be replaced in a copy.
        candidates: words that each of them is replaced by, at random.
        seed: of the copies.
        rules: what is replaced by what.
        dtype: what the masked LM computes in.
    """

    copies: int = 20
    model: str = "google-bert/bert-base-uncased"
    glove: Path | None = None
    probability: float = 0.4
    candidates: int = 15
    seed: int = 0
    rules: AugmentRules = RECOMMENDED
    dtype: Literal["float32", "bfloat16"] = "bfloat16"

    def __post_init__(self) -> None:
        for name, least in (("copies", 1), ("candidates", 1), ("seed", 0)):
            if getattr(self, name) < least:
                raise UserError(f"{name} must be at least {least}, got {getattr(self, name)}")
        if not 0 <= self.probability <= 1:
            raise UserError(f"probability must be in [0, 1], got {self.probability}")

    @property
    def of_candidates(self) -> "AugmentConfig":
        """The same with all that does not decide the candidates at fixed values: equal where they are equal."""
        rules = replace(self.rules, originals=False, distinct=False)
        return replace(self, copies=1, probability=0.0, seed=0, rules=rules)


def check_ids(ids: Collection[str]) -> None:
    """Checks that copies will have ids of their own.

    Raises:
        UserError: an id is that of another's copy.
    """
    for id_ in ids:
        stem, _, number = id_.rpartition("#")
        if number.isdecimal() and stem in ids:
            raise UserError(f"question {id_!r} is a copy of {stem!r} already: give the data as it was before")


class Replaceable(NamedTuple):
    """A paragraph's text, the spans in it that can be replaced, and by what."""

    text: str  # what copies are made of: the context, or its words joined by spaces
    begin: list[int]  # (W,) characters, increasing
    end: list[int]
    candidates: list[list[str]]  # at least one for each


def may_replace(words: Words, paragraph: Sequence[Example], rules: AugmentRules) -> np.ndarray:
    """Which words of a paragraph the rules allow to be replaced: (W,) bool.

    Args:
        words: of the paragraph's context.
        paragraph: its questions.
        rules: the rules.
    """
    allowed = np.array([word_allowed(word, rules) for word in words.normalized], bool)
    if rules.answers == "keep":
        for begin, end in {(a.start, a.start + len(a.text)) for example in paragraph for a in example.answers}:
            allowed &= (words.end <= begin) | (words.begin >= end)
    return allowed


def word_allowed(word: str, rules: AugmentRules) -> bool:
    """Whether the rules allow a word, as the tokenizer reads it, to be replaced, or to replace another."""
    if not rules.stop_words and word.lower() in STOP_WORDS:
        return False
    if rules.words == "a-z":
        return re.fullmatch("[a-z]+", word) is not None
    return word.isalpha() or rules.words == "any"


def join_words(words: Words) -> tuple[str, Words]:
    """The words as the tokenizer reads them, joined by single spaces: the text, and the words' places in it."""
    lengths = np.array([len(word) for word in words.normalized], np.int64)
    end = np.cumsum(lengths + 1) - 1
    return " ".join(words.normalized), replace(words, begin=end - lengths, end=end)


def cased_like(candidate: str, word: str) -> str:
    """The candidate with the case of the word it replaces, if that is capitalised or of capitals alone."""
    if len(word) > 1 and word.isupper():
        return candidate.upper()
    return candidate[:1].upper() + candidate[1:] if word[:1].isupper() else candidate


def draw_copies(
    paragraph: Sequence[Example], replaceable: Replaceable, config: AugmentConfig
) -> Iterator[list[Example]]:
    """Yields a paragraph's copies, the paragraph itself first where the rules say so.

    The questions of copy number n, counted from 1, have the ids "ID#n".

    Args:
        paragraph: the questions about one context.
        replaceable: what can be replaced in it.
        config: how many copies, and how they are drawn.
    """
    rules = config.rules
    if rules.originals:
        yield list(paragraph)
    text, begin, end, candidates = replaceable
    key = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")
    pieces, counts = _alternating(text, begin, end), [len(some) for some in candidates]
    answers = [answer for example in paragraph for answer in example.answers] if rules.answers == "keep" else []
    before = np.searchsorted(end, [answer.start for answer in answers], side="right")
    seen = {paragraph[0].context} if rules.distinct else set()
    for copy in range(1, config.copies + 1):
        rng = np.random.default_rng((config.seed, key, copy))
        chosen = np.flatnonzero(rng.random(len(begin)) < config.probability).tolist()
        choices = rng.integers(0, counts).tolist() if counts else []
        written, grown = pieces.copy(), np.zeros(len(begin) + 1, np.int64)
        for word in chosen:
            new = candidates[word][choices[word]]
            grown[word + 1] = len(new) - (end[word] - begin[word])
            written[2 * word + 1] = new
        context = "".join(written)
        if rules.distinct:
            if context in seen:
                continue
            seen.add(context)
        moved = [
            Answer(answer.text, answer.start + shift)
            for answer, shift in zip(answers, np.cumsum(grown)[before].tolist(), strict=True)
        ]
        yield _copy(paragraph, context, iter(moved), copy, rules)


def _copy(
    paragraph: Sequence[Example], context: str, answers: Iterator[Answer], number: int, rules: AugmentRules
) -> list[Example]:
    kept = rules.answers == "keep"
    return [
        Example(
            f"{example.id}#{number}",
            example.question,
            context,
            tuple(next(answers) for _ in example.answers) if kept else (),
            example.title,
        )
        for example in paragraph
    ]


def _alternating(text: str, begin: list[int], end: list[int]) -> list[str]:
    """The text cut at the spans: what is before the first, the first, what is between it and the second, and so on."""
    cuts = [0, *(cut for span in zip(begin, end, strict=True) for cut in span), len(text)]
    return [text[a:b] for a, b in itertools.pairwise(cuts)]

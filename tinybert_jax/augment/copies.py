"""TinyBERT's data augmentation (Jiao et al. 2020, section 3.2): copies of paragraphs with some words replaced.

What can replace a word is found once a paragraph, by a masked language model and GloVe (`candidates`); any number of
copies is drawn from what was found. Questions are never changed. Every (paragraph, copy) has a random key of its own,
made of the seed, the paragraph's text and the copy's number: neither other paragraphs nor the number of copies change
it.
"""

import hashlib
import itertools
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from tinybert_jax.augment.rules import AugmentConfig, AugmentRules
from tinybert_jax.augment.words import Words
from tinybert_jax.data.example import Example, GoldAnswer
from tinybert_jax.errors import UserError


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


def join_words(words: Words) -> tuple[str, Words]:
    """The words as the tokenizer reads them, joined by single spaces: the text, and the words' places in it."""
    lengths = np.array([len(word) for word in words.normalized], np.int64)
    end = np.cumsum(lengths + 1) - 1
    return " ".join(words.normalized), replace(words, begin=end - lengths, end=end)


def cased_like(candidate: str, word: str) -> str:
    """The candidate with the case of the word it replaces, if that is capitalised or all capitals."""
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
    # Replaced words that end before an answer move it; those at its place or after do not.
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
            GoldAnswer(answer.text, answer.start + shift)
            for answer, shift in zip(answers, np.cumsum(grown)[before].tolist(), strict=True)
        ]
        yield _copy(paragraph, context, iter(moved), copy, rules)


def _copy(
    paragraph: Sequence[Example], context: str, answers: Iterator[GoldAnswer], number: int, rules: AugmentRules
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

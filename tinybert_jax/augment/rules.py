"""What augmentation replaces by what (Jiao et al. 2020, section 3.2)."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from tinybert_jax.augment.stop_words import STOP_WORDS
from tinybert_jax.augment.words import Words
from tinybert_jax.data.example import Example
from tinybert_jax.errors import UserError, check, check_choices, check_least, check_numbers


@dataclass(frozen=True)
class AugmentRules:
    """What is replaced by what, and what becomes of the rest.

    Attributes:
        words: which words may be replaced: "any" (numbers and punctuation too), "letters" (of any script), or "a-z".
        stop_words: replace English stop words ("the", "of") too.
        pair: show the masked LM the unmasked text too, "[CLS] masked [SEP] original [SEP]".
        context: the longest sequence that the masked LM reads, in tokens; of a longer text, the part around the word.
        glove_words: how many of GloVe's words, the first ones of its file, are considered; None for all.
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
        check_choices(self)
        check_numbers(self)
        check("context", self.context, self.context >= 16, "at least 16 tokens")
        check_least(self, glove_words=1)


@dataclass(frozen=True)
class AugmentConfig:
    """An augmentation: its models and its figures.

    Attributes:
        copies: how many to make of each paragraph.
        model: a BERT with its masked-LM head, a folder or a hub id, "owner/name" or "owner/name@revision".
        glove: GloVe vectors, text or zip, for words of several pieces; without them those words stay.
        probability: how likely a word that can be replaced is replaced in a copy.
        candidates: how many words are found for each word; one of them, at random, replaces it in a copy.
        seed: decides which words are replaced, and by which candidates.
        rules: which words are replaced, and what becomes of answers and originals.
        dtype: what the masked LM computes in.
    """

    copies: int = 20
    model: str = "google-bert/bert-base-uncased"
    glove: Path | None = None
    probability: float = 0.4
    candidates: int = 15
    seed: int = 0
    rules: AugmentRules = AugmentRules()
    dtype: Literal["float32", "bfloat16"] = "bfloat16"

    def __post_init__(self) -> None:
        check_choices(self)
        check_numbers(self)
        check_least(self, copies=1, candidates=1, seed=0)
        check("probability", self.probability, 0 <= self.probability <= 1, "in [0, 1]")

    @property
    def of_candidates(self) -> "AugmentConfig":
        """The same with all that does not decide the candidates at fixed values: equal where they are equal."""
        rules = replace(self.rules, originals=False, distinct=False)
        return replace(self, copies=1, probability=0.0, seed=0, rules=rules)


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

import dataclasses

import pytest

from tinybert_jax.augment.copies import Replaceable
from tinybert_jax.augment.rules import AugmentConfig, AugmentRules, may_replace, word_allowed
from tinybert_jax.augment.words import split_words
from tinybert_jax.data import Example, GoldAnswer
from tinybert_jax.errors import UserError
from tinybert_jax.run.presets import PRESETS

CONTEXT = "The  Cat sat on 3 mats, e\u0301n fin."
HAYSTACK, HUAWEI, RECOMMENDED = (PRESETS[name].augment for name in ("haystack", "huawei", "recommended"))
PARAGRAPH = [
    Example("q1", "Who sat?", CONTEXT, (GoldAnswer("Cat", 5), GoldAnswer("The  Cat", 0)), "Cats"),
    Example("q2", "On what?", CONTEXT, (GoldAnswer("3 mats", 16),), "Cats"),
    Example("q3", "Why?", CONTEXT, (), "Cats"),
]
SAT = Replaceable(CONTEXT, [9, 28], [12, 31], [["stood", "lay"], ["fine", "good", "end"]])


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        (RECOMMENDED, ["sat", "e\u0301n", "fin"]),
        (HUAWEI, ["sat", "e\u0301n", "fin"]),
        (HAYSTACK, ["The", "Cat", "sat", "on", "3", "mats", ",", "e\u0301n", "fin", "."]),
        (AugmentRules(stop_words=True), ["sat", "on", "e\u0301n", "fin"]),
        (AugmentRules(answers="empty"), ["Cat", "sat", "mats", "e\u0301n", "fin"]),
    ],
)
def test_which_words_may_be_replaced(tokenizer, rules, expected):
    (words,) = split_words([CONTEXT], tokenizer)
    allowed = may_replace(words, PARAGRAPH, rules)
    spans = zip(words.begin[allowed], words.end[allowed], strict=True)
    assert [CONTEXT[begin:end] for begin, end in spans] == expected


def test_letters_are_of_any_script_and_a_to_z_are_not():
    words = ("größe", "дом", "中", "grosse", "ab1", "-", "the")
    assert [word for word in words if word_allowed(word, RECOMMENDED)] == ["größe", "дом", "中", "grosse"]
    assert [word for word in words if word_allowed(word, HUAWEI)] == ["grosse"]


def test_an_answer_protects_words_it_only_touches(tokenizer):
    (words,) = split_words(["overlapping words here"], tokenizer)
    paragraph = [Example("q", "", "overlapping words here", (GoldAnswer("lapping wor", 4),))]
    assert may_replace(words, paragraph, RECOMMENDED).tolist() == [False, False, False]  # "here" is a stop word
    assert may_replace(words, paragraph, AugmentRules(stop_words=True)).tolist() == [False, False, True]


def test_what_decides_the_candidates():
    config = AugmentConfig()
    drawn = {"copies": 3, "probability": 0.1, "seed": 9, "rules": dataclasses.replace(RECOMMENDED, distinct=False)}
    assert dataclasses.replace(config, **drawn).of_candidates == config.of_candidates
    for change in ({"candidates": 3}, {"model": "other"}, {"rules": HUAWEI}, {"dtype": "float32"}):
        assert dataclasses.replace(config, **change).of_candidates != config.of_candidates


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: AugmentConfig(copies=0), "copies must be at least 1, got 0"),
        (lambda: AugmentConfig(seed=-1), "seed must be at least 0, got -1"),
        (lambda: AugmentConfig(candidates=0), "candidates must be at least 1, got 0"),
        (lambda: AugmentConfig(probability=1.5), r"probability must be in \[0, 1\], got 1.5"),
        (lambda: AugmentRules(context=8), "context must be at least 16 tokens, got 8"),
        (lambda: AugmentRules(glove_words=0), "glove_words must be at least 1, got 0"),
        (lambda: AugmentRules(spacing="single"), 'needs answers "empty"'),
    ],
)
def test_impossible_settings_are_refused(build, message):
    with pytest.raises(UserError, match=message):
        build()

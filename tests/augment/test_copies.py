import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinybert_jax.augment.copies import Replaceable, cased_like, draw_copies, join_words
from tinybert_jax.augment.rules import AugmentConfig, AugmentRules
from tinybert_jax.augment.words import split_words
from tinybert_jax.data import Example, GoldAnswer
from tinybert_jax.run.presets import PRESETS

HAYSTACK, HUAWEI, RECOMMENDED = (PRESETS[name].augment for name in ("haystack", "huawei", "recommended"))
CONTEXT = "The  Cat sat on 3 mats, e\u0301n fin."
PARAGRAPH = [
    Example("q1", "Who sat?", CONTEXT, (GoldAnswer("Cat", 5), GoldAnswer("The  Cat", 0)), "Cats"),
    Example("q2", "On what?", CONTEXT, (GoldAnswer("3 mats", 16),), "Cats"),
    Example("q3", "Why?", CONTEXT, (), "Cats"),
]
SAT = Replaceable(CONTEXT, [9, 28], [12, 31], [["stood", "lay"], ["fine", "good", "end"]])


def test_copies_by_hand():
    config = AugmentConfig(copies=40, probability=0.5, seed=3)
    original, *copies = draw_copies(PARAGRAPH, SAT, config)
    assert original == PARAGRAPH
    contexts = [copy[0].context for copy in copies]
    pattern = re.compile(r"The  Cat (sat|stood|lay) on 3 mats, e\u0301n (fin|fine|good|end)\.")
    assert all(pattern.fullmatch(context) for context in contexts)
    assert len(set(contexts)) == len(contexts) == 11  # 3 × 4 texts but the original
    for copy in copies:
        assert [example.question for example in copy] == [example.question for example in PARAGRAPH]
        assert [example.is_impossible for example in copy] == [False, False, True]
        number = copy[0].id.removeprefix("q1#")
        assert [example.id for example in copy] == [f"q1#{number}", f"q2#{number}", f"q3#{number}"]
        for example, before in zip(copy, PARAGRAPH, strict=True):
            assert [answer.text for answer in example.answers] == [answer.text for answer in before.answers]
            assert all(example.context.startswith(text, start) for text, start in example.answers)


def test_a_copy_does_not_depend_on_how_many_there_are_or_on_other_words_rules():
    few = list(draw_copies(PARAGRAPH, SAT, AugmentConfig(copies=3, rules=AugmentRules(distinct=False))))
    many = list(draw_copies(PARAGRAPH, SAT, AugmentConfig(copies=30, rules=AugmentRules(distinct=False))))
    assert few == many[:4]
    other = list(draw_copies(PARAGRAPH, SAT, AugmentConfig(copies=30, seed=1, rules=AugmentRules(distinct=False))))
    assert other[1:] != many[1:]


def test_words_are_replaced_as_often_as_the_probability_says_and_by_all_candidates_alike():
    rules = AugmentRules(distinct=False, originals=False)
    texts = [copy[0].context for copy in draw_copies(PARAGRAPH, SAT, AugmentConfig(copies=4000, rules=rules))]
    ends = [text.split()[-1] for text in texts]
    assert ends.count("fin.") / 4000 == pytest.approx(0.6, abs=0.04)  # five standard deviations
    for word in ("fine.", "good.", "end."):
        assert ends.count(word) / 4000 == pytest.approx(0.4 / 3, abs=0.03)
    both = sum("sat" not in text and "fin." not in text for text in texts) / 4000
    assert both == pytest.approx(0.16, abs=0.03)  # words are replaced independently


def test_haystack_empties_answers_drops_originals_and_joins_words(tokenizer):
    (words,) = split_words([CONTEXT], tokenizer)
    text, placed = join_words(words)
    assert text == "the cat sat on 3 mats , en fin ."
    assert [text[b:e] for b, e in zip(placed.begin, placed.end, strict=True)] == text.split()
    replaceable = Replaceable(text, [8], [11], [["lay"]])
    copies = list(draw_copies(PARAGRAPH, replaceable, AugmentConfig(copies=5, probability=1.0, rules=HAYSTACK)))
    assert [copy[0].context for copy in copies] == ["the cat lay on 3 mats , en fin ."] * 5
    assert all(example.is_impossible for copy in copies for example in copy)
    assert [copy[2].id for copy in copies] == [f"q3#{n}" for n in range(1, 6)]


def test_nothing_to_replace_gives_the_original_alone():
    replaceable = Replaceable(CONTEXT, [], [], [])
    assert list(draw_copies(PARAGRAPH, replaceable, AugmentConfig())) == [PARAGRAPH]


@given(st.data())
def test_offsets_survive_whatever_is_replaced(data):
    texts = st.text(st.sampled_from("ab \u0301👩ש中."), max_size=12)
    segments = data.draw(st.lists(texts, min_size=3, max_size=9))
    context = "".join(segments)
    cuts = [0]
    for segment in segments:
        cuts.append(cuts[-1] + len(segment))
    spans = [(cuts[i], cuts[i + 1]) for i in range(len(segments))]
    replaced, kept = spans[1::2], spans[0::2]
    answers = tuple(GoldAnswer(context[b:e], b) for b, e in kept if e > b)
    replaceable = Replaceable(
        context,
        [begin for begin, _ in replaced],
        [end for _, end in replaced],
        [data.draw(st.lists(st.text(max_size=5), min_size=1, max_size=3)) for _ in replaced],
    )
    paragraph = [Example("a", "", context, answers), Example("b", "", context, answers[::-1])]
    config = AugmentConfig(copies=5, probability=data.draw(st.sampled_from([0.0, 0.4, 1.0])))
    for copy in draw_copies(paragraph, replaceable, config):
        for example, before in zip(copy, paragraph, strict=True):
            assert [text for text, _ in example.answers] == [text for text, _ in before.answers]
            assert all(example.context[start : start + len(text)] == text for text, start in example.answers)


@pytest.mark.parametrize(
    ("candidate", "word", "expected"),
    [
        ("dog", "cat", "dog"),
        ("dog", "Cat", "Dog"),
        ("dog", "CAT", "DOG"),
        ("dog", "I", "Dog"),
        ("NASA", "cat", "NASA"),
        ("iPod", "Cat", "IPod"),
        ("x", "中", "x"),
    ],
)
def test_candidates_take_the_case_of_the_word(candidate, word, expected):
    assert cased_like(candidate, word) == expected

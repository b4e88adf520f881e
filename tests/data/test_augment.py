import dataclasses
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinybert_jax.data import Answer, Example
from tinybert_jax.data.augment import (
    AUGMENT_PRESETS,
    HAYSTACK,
    HUAWEI,
    RECOMMENDED,
    AugmentConfig,
    AugmentRules,
    Replaceable,
    cased_like,
    draw_copies,
    join_words,
    may_replace,
    word_allowed,
)
from tinybert_jax.data.words import split_words
from tinybert_jax.errors import UserError

CONTEXT = "The  Cat sat on 3 mats, e\u0301n fin."
README = Path(__file__).parents[2] / "README.md"
PARAGRAPH = [
    Example("q1", "Who sat?", CONTEXT, (Answer("Cat", 5), Answer("The  Cat", 0)), "Cats"),
    Example("q2", "On what?", CONTEXT, (Answer("3 mats", 16),), "Cats"),
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
    paragraph = [Example("q", "", "overlapping words here", (Answer("lapping wor", 4),))]
    assert may_replace(words, paragraph, RECOMMENDED).tolist() == [False, False, False]  # "here" is a stop word
    assert may_replace(words, paragraph, AugmentRules(stop_words=True)).tolist() == [False, False, True]


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
    answers = tuple(Answer(context[b:e], b) for b, e in kept if e > b)
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


def preset_rows():
    """The README's table: a row for every rule in which the presets differ."""
    yield "| | " + " | ".join(f"`{name}`" for name in AUGMENT_PRESETS) + " |"
    yield "| --- " * (len(AUGMENT_PRESETS) + 1) + "|"
    for field in dataclasses.fields(AugmentRules):
        values = [str(getattr(rules, field.name)) for rules in AUGMENT_PRESETS.values()]
        if len(set(values)) > 1:
            yield f"| `{field.name}` | " + " | ".join(values) + " |"


def test_the_readme_s_table_is_what_the_presets_are():
    match = re.search(r"<!-- augment-presets -->\n(.*?)\n<!-- /augment-presets -->", README.read_text(), re.DOTALL)
    assert match is not None
    assert match[1].splitlines() == list(preset_rows())


def test_presets_differ_where_their_sources_do():
    assert AUGMENT_PRESETS == {"haystack": HAYSTACK, "huawei": HUAWEI, "recommended": RECOMMENDED}
    assert (HAYSTACK.words, HAYSTACK.answers, HAYSTACK.originals, HAYSTACK.glove_words) == (
        "any",
        "empty",
        False,
        100_000,
    )
    assert (HUAWEI.words, HUAWEI.pair, HUAWEI.originals, HUAWEI.distinct) == ("a-z", True, True, True)


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

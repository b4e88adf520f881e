import unicodedata

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.data.windows_by_hand import example
from tinybert_jax.data import WindowConfig, build_windows, load_tokenizer
from tinybert_jax.data.character_ranges import character_ranges
from tinybert_jax.data.tokenizer import bare_backend


def ranges_of(texts, tokenizer):
    """Each text's ranges, and the library's own offsets."""
    backend = bare_backend(tokenizer)
    encodings = backend.encode_batch(texts, add_special_tokens=False)
    splits = np.cumsum([len(encoding) for encoding in encodings])[:-1]
    ranges = np.split(character_ranges(encodings, texts, backend), splits)
    return [some.tolist() for some in ranges], [list(map(list, encoding.offsets)) for encoding in encodings]


def texts_of(text, tokenizer):
    ((ranges,), _) = ranges_of([text], tokenizer)
    return [text[begin:end] for begin, end in ranges]


@pytest.fixture(scope="module")
def cased(tmp_path_factory):
    """A tokenizer that keeps case and accents."""
    folder = tmp_path_factory.mktemp("cased")
    (folder / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\n", encoding="utf-8")
    (folder / "tokenizer_config.json").write_text('{"do_lower_case": false, "strip_accents": false}')
    return load_tokenizer(folder)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a\u0301b e\u0301", ["a\u0301", "b", "e\u0301"]),  # a mark between two pieces of a word, and at a word's end
        ("x\u0301\u0302\ufe0f.", ["x\u0301\u0302\ufe0f", "."]),
        ("كتابٌ شكرًا", ["كتابٌ", "شكرًا"]),
        ("❤\ufe0f ok", ["❤\ufe0f", "o", "k"]),
        ("a\u200b b\u200b\u200bc", ["a\u200b", "b\u200b\u200b", "c"]),
        ("(\u200ea\u200e).", ["(\u200e", "a\u200e", ")", "."]),  # a mark after a bracket is the bracket's
        ("中\u200b中", ["中\u200b", "中"]),
        ("İ\u0323", ["İ\u0323"]),
        ("한\u0301", ["한\u0301"] * 3),  # pieces of one character share what follows it
        ("\u200ba \u200b b \u0301", ["a", "b"]),  # after a space, or at the head of the text: nobody's
        ("a\ufffd\0\x1f b", ["a\ufffd\0\x1f", "b"]),
        ("a\u00a0\u200bb\u2028c\n", ["a", "b", "c"]),  # other spaces than " " end a token too
        ("a.b,c", ["a", ".", "b", ",", "c"]),
        ("", []),
    ],
)
def test_a_token_holds_what_was_removed_after_it(tokenizer, text, expected):
    assert texts_of(text, tokenizer) == expected


def test_what_the_normalizer_keeps_is_not_moved(cased):
    assert texts_of("ae\u0301\u200b a\u0301", cased) == ["ae\u0301\u200b", "a\u0301"]  # marks are of the words' own
    assert ranges_of(["ae\u0301 a"], cased)[0] == ranges_of(["ae\u0301 a"], cased)[1]


def test_a_text_s_last_token_takes_nothing_of_the_next_text(tokenizer):
    ranges, _ = ranges_of(["a", "\u0301b", "", "\u200b", "c\u0301"], tokenizer)
    assert ranges == [[[0, 1]], [[1, 2]], [], [], [[0, 2]]]
    assert ranges_of([], tokenizer)[0] == [[]]


TEXT = st.text(
    st.sampled_from("ab. \n\u0301\u0323\u200b\u200d\u200e\ufe0f\u064b\u064c❤👍كé中한İ\0\ufffd\u00ad\u3000")
    | st.characters(codec="utf-8"),
    max_size=20,
)


@settings(deadline=None, max_examples=200)
@given(texts=st.lists(TEXT, min_size=1, max_size=3))
def test_ends_move_over_removed_characters_alone(tokenizer, texts):
    normalize = tokenizer.backend_tokenizer.normalizer.normalize_str
    for text, ranges, offsets in zip(texts, *ranges_of(texts, tokenizer), strict=True):
        expected = []
        for begin, end in offsets:
            while end < len(text) and not normalize(text[end]):
                end += 1
            expected.append([begin, end])
        assert ranges == expected
        begins = {begin for begin, _ in offsets}
        for (_, before), (_, after) in zip(offsets, ranges, strict=True):
            assert not begins & set(range(before, after))


WORDS = [
    "café",
    "Ångström",
    "naïve",
    "Việt",
    "كتابٌ",
    "شكرًا",
    "❤\ufe0f",
    "👍\ufe0f",
    "a\u200b",
    "สวัสดี",
    "b",
    "한국",
    "x\u00ad",
]


@settings(deadline=None, max_examples=100)
@given(words=st.lists(st.sampled_from(WORDS), min_size=1, max_size=6), data=st.data())
@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_an_answer_of_whole_words_is_read_off_its_labels(tokenizer, form, words, data):
    words = [unicodedata.normalize(form, word) for word in words]
    first = data.draw(st.integers(0, len(words) - 1))
    last = data.draw(st.integers(first, len(words) - 1))
    answer, begin = " ".join(words[first : last + 1]), len(" ".join([*words[:first], ""]))
    windows = build_windows(
        [example(" ".join(words), answers=[(answer, begin)])], tokenizer, WindowConfig(max_seq_len=200)
    )
    at = windows.offsets[windows.start[0], 0], windows.offsets[windows.end[0], 1]
    assert " ".join(words)[slice(*at)] == answer


def test_an_answer_that_begins_with_a_mark_is_of_the_token_that_holds_it(tokenizer):
    windows = build_windows([example("a\u0301b c", answers=[("\u0301b", 1)])], tokenizer, WindowConfig())
    assert (windows.start.tolist(), windows.end.tolist()) == ([3], [4])

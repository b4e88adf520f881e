import unicodedata

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinybert_jax.augment.words import replaceable_ids, split_words
from tinybert_jax.data import load_tokenizer
from tinybert_jax.errors import UserError

TEXTS = st.text(st.sampled_from("ab é\u0301\u200d中…👩שI.'7\n\u202b") | st.characters(codec="utf-8"), max_size=30)


def words_of(text, tokenizer):
    (words,) = split_words([text], tokenizer)
    return [text[b:e] for b, e in zip(words.begin, words.end, strict=True)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Don't  stop, 3.5 times", ["Don", "'", "t", "stop", ",", "3", ".", "5", "times"]),
        ("cafe\u0301 x\u0301\u0302y e\u0301", ["cafe\u0301", "x\u0301\u0302y", "e\u0301"]),
        ("日本 ok", ["日", "本", "ok"]),
        ("kitab\u064b ok\u200b. ❤\ufe0f \u200bso", ["kitab\u064b", "ok\u200b", ".", "❤\ufe0f", "so"]),
        ("a 👩\u200d👩 שלום", ["a", "👩\u200d👩", "שלום"]),
        ("...", [".", ".", "."]),
        ("one", ["one"]),
        (" \n\t", []),
        ("", []),
    ],
)
def test_words_and_where_they_are(tokenizer, text, expected):
    assert words_of(text, tokenizer) == expected


def test_pieces_and_how_words_are_read(tokenizer):
    (words,) = split_words(["Ab É!"], tokenizer)
    assert tokenizer.convert_ids_to_tokens(words.pieces.tolist()) == ["a", "##b", "e", "!"]
    assert words.splits.tolist() == [0, 2, 3, 4]
    assert words.normalized == ("ab", "e", "!")


@given(TEXTS)
def test_words_are_in_order_apart_and_lose_no_letter(tokenizer, text):
    (words,) = split_words([text], tokenizer)
    assert (words.begin < words.end).all()
    assert (words.end[:-1] <= words.begin[1:]).all()
    assert len(words.normalized) == len(words) == len(words.splits) - 1
    outside = np.ones(len(text), bool)
    for begin, end in zip(words.begin, words.end, strict=True):
        outside[begin:end] = False
    assert not any(char.isalnum() and unicodedata.category(char) != "Lm" for char in np.array(list(text))[outside])


def test_words_that_may_replace_others(tmp_path):
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[unused1]", "the", "##s", "[", "7", "dog"]
    (tmp_path / "vocab.txt").write_text("\n".join(vocabulary) + "\n")
    tokenizer = load_tokenizer(tmp_path)
    anything, letters = replaceable_ids(tokenizer, lambda word: True), replaceable_ids(tokenizer, str.isalpha)
    assert [vocabulary[i] for i in np.flatnonzero(anything)] == ["the", "[", "7", "dog"]
    assert [vocabulary[i] for i in np.flatnonzero(letters)] == ["the", "dog"]


def test_a_tokenizer_that_is_no_bert_s_is_refused(tmp_path):
    (tmp_path / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "dog"]) + "\n")
    with pytest.raises(UserError, match="needs a BERT's tokenizer"):
        replaceable_ids(load_tokenizer(tmp_path), str.isalpha)

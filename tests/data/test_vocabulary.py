"""Trimmed vocabularies: the same tokens wherever no token is missing, and no more unknown ones elsewhere."""

import json
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer
from tokenizers.models import BPE, Unigram, WordLevel, WordPiece
from tokenizers.pre_tokenizers import ByteLevel, Metaspace, WhitespaceSplit
from tokenizers.processors import BertProcessing, TemplateProcessing

from tinybert_jax.data import load_tokenizer
from tinybert_jax.data.tokenizer import bare_backend
from tinybert_jax.data.vocabulary import trim_pipeline, trim_tokenizer
from tinybert_jax.errors import UserError
from tinybert_jax.model import save_pretrained

SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
words = st.text("abc", min_size=1, max_size=5)
texts = st.lists(st.text("abcd", min_size=1, max_size=9), max_size=6).map(" ".join)


def content_of(tokenizer):
    return json.loads(tokenizer.to_str())


def numbered(pieces):
    return {piece: number for number, piece in enumerate(dict.fromkeys(pieces))}


@st.composite
def word_pieces(draw):
    """With every character of three, alone and within a word, and some longer pieces; a fourth is not known."""
    longer = draw(st.lists(st.tuples(st.sampled_from(["", "##"]), words).map("".join), max_size=12))
    pieces = draw(st.permutations([*"abc", "##a", "##b", "##c", *longer]))
    tokenizer = Tokenizer(WordPiece(numbered([*SPECIALS, *pieces]), unk_token="[UNK]"))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    tokenizer.add_special_tokens(SPECIALS)
    return tokenizer


@st.composite
def byte_pairs(draw):
    """Merges drawn one by one, each of two pieces that are there by then; some make what another makes."""
    pieces, merges = [*"abcd", "Ġ"], []
    for _ in range(draw(st.integers(0, 12))):
        pair = draw(st.sampled_from(pieces)), draw(st.sampled_from(pieces))
        if pair not in merges:
            merges.append(pair)
            pieces.append("".join(pair))
    vocabulary = numbered([*SPECIALS, *draw(st.permutations(sorted(set(pieces))))])
    tokenizer = Tokenizer(BPE(vocabulary, merges, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False)
    tokenizer.add_special_tokens(SPECIALS)
    return tokenizer


@st.composite
def unigrams(draw):
    """With every character of three and the mark of a space; a fourth is not known."""
    longer = draw(st.lists(st.text("abc▁", min_size=2, max_size=5), max_size=12))
    pieces = list(numbered([*SPECIALS, *draw(st.permutations([*"abc▁", *longer]))]))
    scores = draw(st.lists(st.floats(-20, -1), min_size=len(pieces), max_size=len(pieces)))
    tokenizer = Tokenizer(Unigram(list(zip(pieces, scores, strict=True)), unk_id=1))
    tokenizer.pre_tokenizer = Metaspace()
    tokenizer.add_special_tokens(SPECIALS)
    return tokenizer


@pytest.mark.filterwarnings("ignore:Do not use the `random` module inside strategies")
@given(tokenizer=st.one_of(word_pieces(), byte_pairs(), unigrams()), corpus=texts, others=st.lists(texts, max_size=4))
def test_only_texts_that_need_a_missing_token_change_and_none_becomes_unknown(tokenizer, corpus, others):
    used = set(tokenizer.encode(corpus).ids)
    content, kept = trim_pipeline(content_of(tokenizer), used)
    trimmed = Tokenizer.from_str(json.dumps(content))
    assert sorted(trimmed.get_vocab().values()) == list(range(len(kept)))
    for text in (corpus, *others):
        before, after = tokenizer.encode(text), trimmed.encode(text)
        if set(before.ids) <= set(kept.tolist()):
            assert [int(kept[id_]) for id_ in after.ids] == before.ids
            assert after.offsets == before.offsets
        assert after.tokens.count("[UNK]") <= before.tokens.count("[UNK]")


def test_what_is_kept_and_in_which_order():
    pieces = ["z", "ab", "##ab", "a", "##b", "##a", "xy", "##xz", "x", "b", "##ba"]
    content, kept = trim_pipeline(content_of(Tokenizer(WordPiece(numbered(pieces), unk_token="z"))), {2, 7})
    # "ab" and "##ba" can be spelt; without "##y" and "##z", "xy" and "##xz" cannot.
    assert content["model"]["vocab"] == numbered(["z", "##ab", "a", "##b", "##a", "xy", "##xz", "x", "b"])
    assert kept.tolist() == [0, 2, 3, 4, 5, 6, 7, 8, 9]


def test_merges_that_lead_to_a_kept_token_are_kept():
    merges = [("a", "b"), ("ab", "c"), ("b", "c"), ("a", "bc"), ("c", "a"), ("ca", "b")]
    vocabulary = numbered([*SPECIALS, *"abc", "ab", "abc", "bc", "ca", "cab"])
    content, _ = trim_pipeline(content_of(Tokenizer(BPE(vocabulary, merges))), {vocabulary["abc"]})
    assert content["model"]["merges"] == [("a", "b"), ("ab", "c"), ("b", "c"), ("a", "bc")]
    assert list(content["model"]["vocab"]) == [*"abc", "ab", "abc", "bc"]


def test_of_a_unigram_model_what_decides_the_unknown_is_kept():
    pieces = [("<unk>", 0.0), ("ab", -1.0), ("a", -2.0), ("b", -3.0), ("ba", -4.0), ("aba", -9.0), ("xy", -1.0)]
    content, kept = trim_pipeline(content_of(Tokenizer(Unigram(pieces, unk_id=0))), {1})
    assert [tuple(pair) for pair in content["model"]["vocab"]] == [*pieces[:4], *pieces[5:]]  # "xy" cannot be spelt
    assert content["model"]["unk_id"] == 0
    assert kept.tolist() == [0, 1, 2, 3, 5, 6]


PAIR = {"single": "[CLS] $A [SEP]", "pair": "[CLS] $A [SEP] $B [SEP]"}
PROCESSORS = {
    "template": partial(TemplateProcessing, **PAIR, special_tokens=[("[CLS]", 3), ("[SEP]", 4)]),
    "bert": partial(BertProcessing, ("[SEP]", 4), ("[CLS]", 3)),
}


@pytest.mark.parametrize("name", PROCESSORS)
def test_special_tokens_are_put_around_a_text_under_their_new_ids(name):
    tokenizer = Tokenizer(WordPiece(numbered(["[PAD]", "[UNK]", "ab", "[CLS]", "[SEP]", "a", "b", "##b"])))
    tokenizer.add_special_tokens(SPECIALS)
    tokenizer.add_tokens(["an added one"])
    tokenizer.post_processor = PROCESSORS[name]()
    trimmed = Tokenizer.from_str(json.dumps(trim_pipeline(content_of(tokenizer), set())[0]))
    assert trimmed.token_to_id("ab") is None
    assert trimmed.token_to_id("an added one") == trimmed.get_vocab_size() - 1
    assert trimmed.encode("a", "b").tokens == ["[CLS]", "a", "[SEP]", "b", "[SEP]"]
    assert trimmed.encode("a", "b").ids == [2, 4, 3, 5, 3]


def test_another_kind_of_vocabulary_is_refused():
    content = content_of(Tokenizer(WordLevel({"a": 0}, unk_token="a")))
    with pytest.raises(UserError, match=r"only a WordPiece, a .* vocabulary can be trimmed, got WordLevel"):
        trim_pipeline(content, set())


@pytest.fixture
def cased_folder(tmp_path):
    """Of the first years: a vocab.txt and a tokenizer_config.json that lists the special tokens by their ids."""
    pieces = ["[PAD]", "[unused0]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "Hello", "world", "##s", *"Helowrds[und0]"]
    pieces += ["##" + letter for letter in "elowrdsun0]"]
    (tmp_path / "vocab.txt").write_text("\n".join(dict.fromkeys(pieces)) + "\n")
    listed = {str(id_): {"content": pieces[id_], "special": True} for id_ in (0, 2, 3, 4, 5)}
    options = {"do_lower_case": False, "added_tokens_decoder": listed, "tokenizer_class": "BertTokenizer"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(options))
    return tmp_path


def test_a_trimmed_tokenizer_is_saved_and_loads_here_and_in_transformers(cased_folder, tmp_path, config, params):
    from transformers import AutoTokenizer

    whole = load_tokenizer(cased_folder)
    tokenizer, kept = trim_tokenizer(whole, bare_backend(whole).encode("Hello").ids)
    assert kept.tolist()[:6] == [0, 2, 3, 4, 5, 6]
    assert whole.vocab_size - len(kept) == 2  # "[unused0]" and "world"
    save_pretrained(tmp_path / "model", config, params, tokenizer)
    for loaded in (load_tokenizer(tmp_path / "model"), AutoTokenizer.from_pretrained(tmp_path / "model")):
        assert loaded.get_vocab() == tokenizer.get_vocab()
        assert loaded("Hello worlds")["input_ids"] == tokenizer("Hello worlds")["input_ids"]
        assert loaded.convert_ids_to_tokens(loaded("Hello wo")["input_ids"]) == ["[CLS]", "Hello", "w", "##o", "[SEP]"]
        assert loaded.mask_token_id == 4

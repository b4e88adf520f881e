"""SentencePiece's unigram tokenizers, as XLM-RoBERTa and CamemBERT have them, on texts in many scripts."""

import json
import unicodedata
from functools import cache

import numpy as np
import pytest

from tests.data.multilingual import SENTENCES, texts, write_unigram
from tests.data.windows_by_hand import example
from tinybert_jax.data import WindowConfig, build_windows, load_tokenizer
from tinybert_jax.data.tokenizer import text_rules, tokenizer_digest
from tinybert_jax.data.vocabulary import trim_tokenizer, used_tokens
from tinybert_jax.errors import UserError

TEXTS = texts(200)
QUESTIONS = [sentence[:20] for sentence in SENTENCES]


@pytest.fixture(scope="module", params=["xlm-roberta", "metaspace"])
def unigram(tmp_path_factory, request):
    return write_unigram(tmp_path_factory.mktemp("unigram") / "tokenizer", request.param)


def theirs(tokenizer):
    """Transformers' own object of the same files."""
    transformers = pytest.importorskip("transformers")
    return transformers.PreTrainedTokenizerFast.from_pretrained(tokenizer.name_or_path)


@cache
def is_space(character, tokenizer):
    return tokenizer.backend_tokenizer.normalizer.normalize_str(character).isspace()


def rows(windows, column):
    return [part.tolist() for part in np.split(getattr(windows, column), windows.row_splits[1:-1])]


def test_the_vocabulary_is_recognised_and_pairs_are_joined_as_robertas(unigram):
    ids = unigram("a", "b")["input_ids"]
    assert (ids[0], ids[-1], ids.count(2)) == (0, 2, 3)
    assert unigram.get_vocab()["<pad>"] == unigram.pad_token_id == 1
    windows = build_windows([example("b", "a")], unigram, WindowConfig())
    assert windows.tokens.tolist() == ids
    assert unigram.tokenize("the 옛")[0].startswith("▁")


def test_windows_of_200_texts_are_those_of_transformers(unigram):
    """The tokens exactly; their characters but for a space in front and for what was swallowed behind."""
    examples = [example(text, QUESTIONS[i % len(QUESTIONS)]) for i, text in enumerate(TEXTS)]
    windows = build_windows(examples, unigram, WindowConfig(max_seq_len=90, doc_stride=16))
    reference = theirs(unigram)(
        [one.question for one in examples],
        [one.context for one in examples],
        max_length=90,
        truncation="only_second",
        stride=16,
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
    )
    assert rows(windows, "tokens") == reference["input_ids"]
    assert windows.example.tolist() == reference["overflow_to_sample_mapping"]
    assert len(windows) > 1.5 * len(TEXTS)
    space = unigram.convert_tokens_to_ids("▁")
    for w, ours in enumerate(rows(windows, "offsets")):
        context, inside = TEXTS[windows.example[w]], slice(windows.context_begin[w], -1)
        assert ours[: windows.context_begin[w]] + ours[-1:] == [[-1, -1]] * (len(ours) - len(ours[inside]))
        given = list(zip(reference["offset_mapping"][w], reference["input_ids"][w], strict=True))[inside]
        for ((begin, end), token), found in zip(given, ours[inside], strict=True):
            while begin < end and is_space(context[begin], unigram):
                begin += 1
            if token == space:
                assert found == [begin, begin]
            else:
                assert found[0] == begin
                assert found[1] >= end
                swallowed = context[end : found[1]]
                assert {unicodedata.category(c) for c in swallowed} <= {"Mn", "Mc", "Cf", "Lo"}, ascii(swallowed)


def test_every_character_but_spaces_is_some_token_s_and_no_token_begins_or_ends_with_a_space(unigram):
    windows = build_windows([example(text) for text in TEXTS], unigram, WindowConfig(max_seq_len=999))
    for text, offsets in zip(TEXTS, rows(windows, "offsets"), strict=True):
        covered = np.zeros(len(text), bool)
        for begin, end in offsets:
            if begin < end:
                covered[begin:end] = True
                assert not is_space(text[begin], unigram)
                assert not is_space(text[end - 1], unigram)
        lost = {c for c, held in zip(text, covered, strict=True) if not held and not is_space(c, unigram)}
        assert lost <= {"\u200e", "\u00ad"}  # which the normalizer removes, in front of a word


def words_of(text, tokenizer):
    """The words between spaces, as (begin, end)."""
    begins = [i for i in range(len(text)) if (i == 0 or is_space(text[i - 1], tokenizer))]
    begins = [i for i in begins if not is_space(text[i], tokenizer)]
    ends = [i + 1 for i in range(len(text)) if i + 1 == len(text) or is_space(text[i + 1], tokenizer)]
    ends = [i for i in ends if not is_space(text[i - 1], tokenizer)]
    return list(zip(begins, ends, strict=True))


def test_an_answer_of_whole_words_is_read_off_its_labels_and_they_are_transformers_own(unigram):
    rng = np.random.default_rng(0)
    examples, spans = [], []
    for text in TEXTS:
        words = [(begin, end) for begin, end in words_of(text, unigram) if text[begin] not in "\u200e\u00ad"]
        first = rng.integers(len(words))
        last = rng.integers(first, min(first + 4, len(words)))
        spans.append((words[first][0], words[last][1]))
        examples.append(example(text, answers=[(text[slice(*spans[-1])], spans[-1][0])]))
    windows = build_windows(examples, unigram, WindowConfig(max_seq_len=999))
    reference = theirs(unigram)(["q"] * len(TEXTS), TEXTS, return_offsets_mapping=True)
    normalize, space = unigram.backend_tokenizer.normalizer.normalize_str, unigram.convert_tokens_to_ids("▁")
    compared = 0
    ranges = rows(windows, "offsets")
    for w, (begin, end) in enumerate(spans):
        text, offsets = TEXTS[w], ranges[w]
        assert text[offsets[windows.start[w]][0] : offsets[windows.end[w]][1]] == text[begin:end]
        inside = [i for i, sequence in enumerate(reference.sequence_ids(w)) if sequence == 1]
        # as transformers' own script for question answering finds them
        given = reference["offset_mapping"][w]
        start = max(i for i in inside if given[i][0] <= begin)
        stop = min((i for i in inside if given[i][1] >= end and reference["input_ids"][w][i] != space), default=None)
        cut = any(len(normalize(character)) > 1 for character in (text[begin], text[end - 1]))
        if cut or stop is None or given[windows.end[w]][1] < end:
            continue  # its script cuts a character in two, or loses a mark at the end
        compared += 1
        assert (windows.start[w], windows.end[w]) == (start, stop)
    assert compared > 120


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("cafe\u0301 e\u0301", ["cafe\u0301", "e\u0301"]),  # composed on the way: the mark is its letter's
        (" \u3000옛  다리", ["옛", "다리"]),
        ("\u200eab\u200f\u00ad c", ["ab\u200f\u00ad", "c"]),
        ("a\u200bb", ["a", "b"]),  # a space to this normalizer
        ("1\u0308\u0323.", ["1\u0308\u0323."]),
    ],
)
def test_words_by_hand(unigram, text, expected):
    windows = build_windows([example(text)], unigram, WindowConfig())
    pieces = [text[begin:end] for begin, end in windows.offsets[windows.context_begin[0] : -1]]
    tokens = unigram.convert_ids_to_tokens(windows.tokens)[windows.context_begin[0] : -1]
    words = []
    for token, piece in zip(tokens, pieces, strict=True):
        if token.startswith("▁"):
            words.append("")
        words[-1] += piece
    assert [word for word in words if word] == expected


# --- the files -------------------------------------------------------------------------------------------------------


def changed(folder, destination, **parts):
    """A copy of a tokenizer's folder with parts of its tokenizer.json changed."""
    destination.mkdir()
    for path in folder.iterdir():
        (destination / path.name).write_bytes(path.read_bytes())
    content = json.loads((destination / "tokenizer.json").read_text())
    (destination / "tokenizer.json").write_text(json.dumps(content | parts))
    return destination


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files") / "tokenizer"
    write_unigram(folder)
    return folder


def test_it_is_saved_as_it_was(folder, tmp_path):
    tokenizer = load_tokenizer(folder)
    tokenizer.save_pretrained(tmp_path / "saved")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        assert (folder / name).read_bytes() == (tmp_path / "saved" / name).read_bytes()
    assert tokenizer_digest(load_tokenizer(tmp_path / "saved")) == tokenizer_digest(tokenizer)


def test_special_tokens_that_the_files_do_not_name_are_the_familys(folder, tmp_path):
    bare = changed(folder, tmp_path / "bare")
    (bare / "tokenizer_config.json").unlink()
    tokenizer = load_tokenizer(bare)
    assert (tokenizer.cls_token, tokenizer.sep_token, tokenizer.pad_token_id) == ("<s>", "</s>", 1)


def test_camemberts_special_tokens_stand_elsewhere(tmp_path):
    first = ["<s>NOTUSED", "<pad>", "</s>NOTUSED", "<unk>", "<unk>NOTUSED", "<s>", "</s>"]
    tokenizer = write_unigram(tmp_path / "camembert", cls=first)
    windows = build_windows([example("b", "a")], tokenizer, WindowConfig())
    assert windows.tokens.tolist() == tokenizer("a", "b")["input_ids"]
    assert (windows.tokens[0], windows.tokens[-1]) == (5, 6)


def test_scores_decide_which_tokens_a_text_becomes(folder, tmp_path):
    model = json.loads((folder / "tokenizer.json").read_text())["model"]
    others = [[piece, 2 * score] for piece, score in model["vocab"]]
    other = load_tokenizer(changed(folder, tmp_path / "other", model=model | {"vocab": others}))
    ours = load_tokenizer(folder)
    assert other.get_vocab() == ours.get_vocab()
    assert text_rules(other)["model"]["scores"] != text_rules(ours)["model"]["scores"]


def test_what_is_no_xlm_roberta_s_is_refused(folder, tmp_path):
    words = changed(folder, tmp_path / "words", pre_tokenizer={"type": "BertPreTokenizer"})
    with pytest.raises(UserError, match="splits only by WhitespaceSplit and Metaspace, got BertPreTokenizer"):
        load_tokenizer(words)
    alone = changed(folder, tmp_path / "alone", post_processor=None)
    with pytest.raises(UserError, match="must join a question and a text as <s> question </s> text </s>, got"):
        load_tokenizer(alone)
    plain = changed(folder, tmp_path / "plain")
    (plain / "tokenizer_config.json").write_text('{"add_prefix_space": false}')
    with pytest.raises(UserError, match="add_prefix_space must be True or left out, got False"):
        load_tokenizer(plain)
    (plain / "tokenizer_config.json").write_text('{"tokenizer_class": "BertTokenizer"}')
    with pytest.raises(UserError, match=r"one of XLMRobertaTokenizer, CamembertTokenizer, .*got 'BertTokenizer'"):
        load_tokenizer(plain)


def test_a_sentencepiece_model_alone_is_named_with_the_way_out(tmp_path):
    (tmp_path / "sentencepiece.bpe.model").write_bytes(b"\n")
    with pytest.raises(UserError, match=r"sentencepiece\.bpe\.model cannot be read, so write a tokenizer\.json"):
        load_tokenizer(tmp_path)


def test_a_trimmed_vocabulary_cuts_its_texts_as_before(unigram):
    some = [example("a", text) for text in TEXTS[:20]]
    whole = build_windows(some, unigram, WindowConfig())
    tokenizer, kept = trim_tokenizer(unigram, used_tokens(whole))
    assert len(tokenizer) < len(unigram)
    trimmed = build_windows(some, tokenizer, WindowConfig())
    np.testing.assert_array_equal(kept[trimmed.tokens], whole.tokens)
    np.testing.assert_array_equal(trimmed.offsets, whole.offsets)

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.data.windows_by_hand import assert_same, columns, example
from tinybert_jax.data import (
    WindowConfig,
    build_windows,
    load_tokenizer,
    load_windows,
)
from tinybert_jax.errors import UserError

CLS, SEP = 2, 3
MERGES = ["Ġ a", "Ġ q", "b c", "Ġ bc", "Ġ Ġ", "ĠĠ Ġ", "Ċ Ġ", "Ġ Ċ", "Ã ©", "© ä"]


def byte_level(folder, **options):
    """A RoBERTa's tokenizer: single bytes, a few pieces with a space in front, and pieces across characters."""
    from tokenizers.pre_tokenizers import ByteLevel

    pieces = [*sorted(ByteLevel.alphabet()), *(merge.replace(" ", "") for merge in MERGES)]
    vocabulary = {token: i for i, token in enumerate(["<s>", "<pad>", "</s>", "<unk>", *pieces, "<mask>"])}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *MERGES]) + "\n", encoding="utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps(options))
    return load_tokenizer(folder)


@pytest.fixture
def roberta(tmp_path):
    (tmp_path / "roberta").mkdir()
    return byte_level(tmp_path / "roberta")


@pytest.fixture(scope="module", params=[{}, {"add_prefix_space": True}, {"trim_offsets": False}], ids=str)
def any_roberta(tmp_path_factory, request):
    return byte_level(tmp_path_factory.mktemp("roberta"), **request.param)


def rows(windows, column):
    return [part.tolist() for part in np.split(getattr(windows, column), windows.row_splits[1:-1])]


def test_windows_by_hand(tokenizer):
    # Room for 9 - 1 - 3 = 5 context tokens, of which 2 overlap: windows begin at tokens 0, 3, 6 of 9.
    config = WindowConfig(max_seq_len=9, doc_stride=2)
    windows = build_windows([example("a b c d e f g h i", answers=[("e f", 8)])], tokenizer, config)
    question, *context = tokenizer.convert_tokens_to_ids(list("qabcdefghi"))
    assert rows(windows, "tokens") == [
        [CLS, question, SEP, *context[0:5], SEP],
        [CLS, question, SEP, *context[3:8], SEP],
        [CLS, question, SEP, *context[6:9], SEP],
    ]
    blank = [-1, -1]
    assert rows(windows, "offsets")[2] == [blank, blank, blank, [12, 13], [14, 15], [16, 17], blank]
    assert windows.lengths.tolist() == [9, 9, 7]
    assert windows.context_begin.tolist() == [3, 3, 3]
    assert windows.example.tolist() == [0, 0, 0]
    assert windows.start.tolist() == [0, 4, 0]  # "e" is in the first window too, "f" is not
    assert windows.end.tolist() == [0, 5, 0]
    assert len(windows) == 3


def test_the_stride_may_be_the_step_from_window_to_window(tokenizer):
    # Room for 5 context tokens: windows begin at tokens 0, 2, 4 of 9 where 2 is the step, at 0, 3, 6 where it overlaps.
    step = WindowConfig(max_seq_len=9, doc_stride=2, stride_means="step")
    examples = [example("a b c d e f g h i", answers=[("e f", 8)])]
    windows = build_windows(examples, tokenizer, step)
    context = tokenizer.convert_tokens_to_ids(list("abcdefghi"))
    assert [row[3:-1] for row in rows(windows, "tokens")] == [context[0:5], context[2:7], context[4:9]]
    assert (windows.start.tolist(), windows.end.tolist()) == ([0, 5, 3], [0, 6, 4])
    columns = vars(build_windows(examples, tokenizer, replace(step, doc_stride=3)))
    same = vars(build_windows(examples, tokenizer, WindowConfig(max_seq_len=9, doc_stride=2)))
    assert all((columns[name] == same[name]).all() for name in same)


def test_windows_of_a_roberta_by_hand(roberta):
    # Room for 9 - 1 - 4 = 4 context tokens, of which 1 overlaps: windows begin at tokens 0, 3 of 6.
    config = WindowConfig(max_seq_len=9, doc_stride=1)
    windows = build_windows([example("a bc  d e", answers=[("d e", 6)])], roberta, config)
    blank = [-1, -1]
    tokens = [roberta.convert_ids_to_tokens(row) for row in rows(windows, "tokens")]
    assert tokens == [
        ["<s>", "q", "</s>", "</s>", "a", "Ġbc", "Ġ", "Ġ", "</s>"],
        ["<s>", "q", "</s>", "</s>", "Ġ", "d", "Ġ", "e", "</s>"],
    ]
    assert rows(windows, "offsets") == [
        [blank] * 4 + [[0, 1], [2, 4], [5, 5], [6, 6], blank],
        [blank] * 4 + [[6, 6], [6, 7], [8, 8], [8, 9], blank],
    ]
    assert windows.context_begin.tolist() == [4, 4]
    assert (windows.start.tolist(), windows.end.tolist()) == ([0, 5], [0, 7])


def test_no_offset_of_a_roberta_begins_with_a_space(any_roberta):
    # The tokenizers library leaves the first token's space in under add_prefix_space.
    context = " a  bc é"
    windows = build_windows([example(context, "")], any_roberta, WindowConfig())
    texts = [context[begin:end] for begin, end in rows(windows, "offsets")[0] if begin >= 0]
    assert any_roberta.convert_ids_to_tokens(windows.tokens)[3:-1] == ["Ġa", "Ġ", "Ġbc", "Ġ", "Ã©"]
    assert texts == ["a", "", "bc", "", "é"]


def test_the_tokenizer_decides_the_layout(roberta, tmp_path):
    """The same vocabulary with one separator: another layout, and another cache."""
    from tokenizers.processors import BertProcessing

    load_windows([example("a")], roberta, WindowConfig(), tmp_path / "cache")
    roberta.backend_tokenizer.post_processor = BertProcessing(("</s>", 2), ("<s>", 0))
    windows = load_windows([example("a")], roberta, WindowConfig(), tmp_path / "cache")
    assert roberta.convert_ids_to_tokens(windows.tokens) == ["<s>", "q", "</s>", "a", "</s>"]
    assert windows.context_begin.tolist() == [3]
    assert len(list((tmp_path / "cache").iterdir())) == 2


def test_dtypes(tokenizer):
    dtypes = {name: column.dtype for name, column in columns(build_windows([], tokenizer, WindowConfig())).items()}
    assert dtypes.pop("row_splits") == np.int64
    assert set(dtypes.values()) == {np.dtype(np.int32)}


@pytest.mark.parametrize(("context_tokens", "windows"), [(0, 1), (1, 1), (5, 1), (6, 2), (8, 2), (9, 3), (11, 3)])
def test_number_of_windows(tokenizer, context_tokens, windows):
    config = WindowConfig(max_seq_len=9, doc_stride=2)
    assert len(build_windows([example("a " * context_tokens)], tokenizer, config)) == windows


def test_questions_and_contexts_may_repeat(tokenizer):
    config = WindowConfig(max_seq_len=10, doc_stride=1)
    examples = [example("a b c d e f"), example("x"), example("a b c d e f", "r s"), example("x", "r s")]
    together = build_windows(examples, tokenizer, config)
    assert together.example.tolist() == [0, 1, 2, 2, 3]
    alone = [build_windows([one], tokenizer, config) for one in examples]
    assert rows(together, "tokens") == [row for windows in alone for row in rows(windows, "tokens")]
    assert rows(together, "offsets") == [row for windows in alone for row in rows(windows, "offsets")]


def test_a_long_question_is_cut(tokenizer):
    config = WindowConfig(max_seq_len=12, doc_stride=1, max_question_len=4)
    windows = build_windows([example("abc", "uvwxyz")], tokenizer, config)
    tokens = ["[CLS]", "u", "##v", "##w", "##x", "[SEP]", "a", "##b", "##c", "[SEP]"]
    assert tokenizer.convert_ids_to_tokens(windows.tokens) == tokens
    assert windows.context_begin.tolist() == [6]


@pytest.mark.parametrize("context", ["", " \n\t", "\u200b"])
def test_a_blank_context_is_one_window_without_context(tokenizer, context):
    answers = [(context, 0)] if context else []
    windows = build_windows([example(context, answers=answers)], tokenizer, WindowConfig())
    assert windows.tokens.tolist() == [CLS, *tokenizer.convert_tokens_to_ids(["q"]), SEP, SEP]
    assert (windows.start.tolist(), windows.end.tolist()) == ([0], [0])


@pytest.mark.parametrize(
    ("answer", "first", "last"),
    [
        (("ab", 0), 0, 1),
        (("b", 1), 1, 1),
        (("b  c", 1), 1, 2),
        (("  ", 2), 2, 2),  # meets no token: the next one
        ((" ", 7), 4, 4),  # meets no token and none follows: the last one
        (("", 4), 2, 2),
        (("X", 99), 4, 4),  # an offset that scoring did not check
    ],
)
def test_labels(tokenizer, answer, first, last):
    # tokens: a [0, 1), ##b [1, 2), c [4, 5), ##d [5, 6), ##e [6, 7)
    windows = build_windows([example("ab  cde ", answers=[answer, ("ab", 0)])], tokenizer, WindowConfig())
    assert (windows.start.tolist(), windows.end.tolist()) == ([3 + first], [3 + last])


def test_no_answer_and_unknown_offset_are_labelled_zero(tokenizer):
    examples = [example("ab"), example("ab", answers=[("ab", -1)])]
    windows = build_windows(examples, tokenizer, WindowConfig())
    assert windows.start.tolist() == windows.end.tolist() == [0, 0]


def test_a_question_that_leaves_no_room(tokenizer):
    config = WindowConfig(max_seq_len=12, doc_stride=4)
    fine = example("a b c d e f", "u v", id_="fine")
    stuck = example("a b c d e f", "u v w x y", id_="stuck")
    with pytest.raises(UserError, match=r"'stuck' \(5 tokens\) leaves 4 tokens .* raise max_seq_len") as error:
        build_windows([fine, stuck], tokenizer, config)
    assert "doc_stride = 4" in str(error.value)
    with pytest.raises(UserError, match="leaves 0 tokens"):
        build_windows([example("", "abcdefghijklmnop")], tokenizer, config)
    with pytest.raises(UserError, match=r"leaves 4 tokens .* advance by doc_stride = 5 need more to leave no"):
        build_windows([stuck], tokenizer, replace(config, doc_stride=5, stride_means="step"))
    assert len(build_windows([stuck], tokenizer, replace(config, stride_means="step"))) == 2  # by 4 of 4
    # It matters only where one window is not enough.
    assert len(build_windows([replace(stuck, context="a b c d")], tokenizer, config)) == 1


@pytest.mark.parametrize(
    "setting",
    [{"max_seq_len": 0}, {"doc_stride": -1}, {"doc_stride": 0, "stride_means": "step"}, {"max_question_len": 0}],
)
def test_impossible_settings(setting):
    with pytest.raises(UserError, match=f"{next(iter(setting))} must be at least"):
        WindowConfig(**setting)


TEXT = st.text(st.one_of(st.sampled_from("ab c.  é한ß中İ"), st.characters(codec="utf-8")), max_size=40)


def windows_and_reference(tokenizer, texts, max_seq_len, doc_stride):
    """Our windows of (question, context) pairs and transformers' own, found to be of the same tokens."""
    config = WindowConfig(max_seq_len=max_seq_len, doc_stride=doc_stride)
    windows = build_windows([example(context, question) for question, context in texts], tokenizer, config)
    reference = tokenizer(
        [question for question, _ in texts],
        [context for _, context in texts],
        max_length=max_seq_len,
        truncation="only_second",
        stride=doc_stride,
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
    )
    assert rows(windows, "tokens") == reference["input_ids"]
    assert windows.example.tolist() == reference["overflow_to_sample_mapping"]
    return windows, reference


def past_removed(end, text, tokenizer):
    """Transformers leaves out what the normalizer removed after a token."""
    while end < len(text) and not tokenizer.backend_tokenizer.normalizer.normalize_str(text[end]):
        end += 1
    return end


@settings(deadline=None, max_examples=150)
@given(
    texts=st.lists(st.tuples(TEXT.map(lambda text: text[:6]), TEXT), min_size=1, max_size=3),
    max_seq_len=st.integers(24, 40),
    doc_stride=st.integers(0, 2),
)
def test_windows_are_those_of_transformers(tokenizer, texts, max_seq_len, doc_stride):
    windows, reference = windows_and_reference(tokenizer, texts, max_seq_len, doc_stride)
    for w, offsets in enumerate(rows(windows, "offsets")):
        in_context = [sequence == 1 for sequence in reference.sequence_ids(w)]
        context, expected = texts[windows.example[w]][1], reference["offset_mapping"][w]
        expected = [(begin, past_removed(end, context, tokenizer)) for begin, end in expected]
        assert offsets == [list(o) if c else [-1, -1] for o, c in zip(expected, in_context, strict=True)]
        segments = (np.arange(len(offsets)) >= windows.context_begin[w]).astype(int).tolist()
        assert segments == reference["token_type_ids"][w]


SPACED = st.text(st.sampled_from("  \nabcqé中"), max_size=40) | TEXT


@settings(deadline=None, max_examples=100)
@given(
    texts=st.lists(st.tuples(SPACED.map(lambda text: text[:4]), SPACED), min_size=1, max_size=3),
    max_seq_len=st.integers(24, 40),
    doc_stride=st.integers(0, 2),
)
def test_windows_of_a_roberta_are_those_of_transformers(any_roberta, texts, max_seq_len, doc_stride):
    windows, reference = windows_and_reference(any_roberta, texts, max_seq_len, doc_stride)
    for w, offsets in enumerate(rows(windows, "offsets")):
        context = texts[windows.example[w]][1]
        in_context = [sequence == 1 for sequence in reference.sequence_ids(w)]
        assert in_context == [windows.context_begin[w] <= i < len(offsets) - 1 for i in range(len(offsets))]
        expected = [
            [end - len(context[begin:end].lstrip(" ")), end] if inside else [-1, -1]
            for (begin, end), inside in zip(reference["offset_mapping"][w], in_context, strict=True)
        ]
        first = windows.context_begin[w]
        if context[slice(*expected[first])] == "":  # at a window's head transformers has an empty token one too early
            assert offsets[first][0] == offsets[first][1] in (expected[first][0], expected[first][0] + 1)
            expected[first] = offsets[first]
        assert offsets == expected


@settings(deadline=None, max_examples=100)
@given(context=SPACED.filter(bool), data=st.data())
def test_an_answer_is_read_off_the_tokens_of_a_roberta(any_roberta, context, data):
    begin = data.draw(st.integers(0, len(context) - 1))
    answer = context[begin : data.draw(st.integers(begin + 1, len(context)))]
    one = example(context, answers=[(answer, begin)])
    windows = build_windows([one], any_roberta, WindowConfig(max_seq_len=999))
    first, last = (windows.offsets[label[0]].tolist() for label in (windows.start, windows.end))
    read = context[first[0] : last[1]]
    assert answer.strip(" ") in read
    if answer == answer.strip(" "):
        assert not read.startswith(" ")
        assert len(read) <= len(answer) + 2  # a piece holds at most one character besides


@settings(deadline=None, max_examples=150)
@given(contexts=st.lists(TEXT.filter(bool), min_size=1, max_size=3), data=st.data())
def test_labels_are_the_tokens_that_meet_the_answer(tokenizer, contexts, data):
    examples = []
    for context in contexts:
        begin = data.draw(st.integers(0, len(context) - 1))
        end = data.draw(st.integers(begin + 1, len(context)))
        examples.append(example(context, answers=[(context[begin:end], begin)]))
    windows = build_windows(examples, tokenizer, WindowConfig(max_seq_len=20, doc_stride=6))
    whole = build_windows(examples, tokenizer, WindowConfig(max_seq_len=999))
    for w, offsets in enumerate(rows(windows, "offsets")):
        ((text, begin),) = examples[windows.example[w]].answers
        met = [i for i, (b, e) in enumerate(offsets) if b < begin + len(text) and e > begin and b >= 0]
        all_met = [1 for b, e in rows(whole, "offsets")[windows.example[w]] if b < begin + len(text) and e > begin]
        if met and len(met) == len(all_met):
            assert (windows.start[w], windows.end[w]) == (met[0], met[-1])
        elif all_met:
            assert (windows.start[w], windows.end[w]) == (0, 0)


def test_a_slice_is_the_windows_of_its_rows(tokenizer):
    examples = [example("a b c d e f", answers=[("e", 8)]), example("x", "r s"), example("y z")]
    windows = build_windows(examples, tokenizer, WindowConfig(max_seq_len=9, doc_stride=2))
    assert len(windows) == 4
    part = windows.slice(1, 3)
    assert len(part) == 2
    for column in ("tokens", "offsets"):
        assert rows(part, column) == rows(windows, column)[1:3]
    for column in ("lengths", "context_begin", "example", "start", "end"):
        assert getattr(part, column).tolist() == getattr(windows, column)[1:3].tolist()
    assert_same(windows.slice(0, 4), windows)


def test_windows_shrink_in_proportion_to_the_position_table():
    assert WindowConfig(384, 128, 64).fitted(96) == WindowConfig(96, 32, 64)
    assert WindowConfig(64, 20, 64).fitted(96) == WindowConfig(64, 20, 64)

"""Answers by hand: a network whose logits are those of single letters."""

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.data.multilingual import SENTENCES, write_unigram
from tests.inference.letters import LetterNetwork
from tinybert_jax.data import Dataset, Example, WindowConfig, build_windows
from tinybert_jax.errors import UserError
from tinybert_jax.inference import Answer, Answerer, JaxNetwork, QASettings, evaluate
from tinybert_jax.model import BertConfig, BertForQuestionAnswering, Model, save_pretrained
from tinybert_jax.scoring import AnswerConfig

# Words that begin with x and end with z are answers; y ends worse ones.
STARTS, ENDS = {"x": 5.0}, {"z": 5.0, "y": 3.0}


def answerer(tokenizer, cls=(0.0, 0.0), windows=WindowConfig(), batch_size=4, **options):
    network = LetterNetwork(tokenizer, STARTS, ENDS, cls)
    return Answerer(network, tokenizer, QASettings(windows, **options), batch_size=batch_size)


def test_an_answer_its_place_and_how_sure(tokenizer):
    answer = answerer(tokenizer, cls=(3.0, 3.0))("what?", "aa xbz bb")
    assert (answer.text, answer.start, answer.end, answer.passage) == ("xbz", 3, 6, 0)
    assert (answer.score, answer.null_odds) == (10.0, 6.0 - 10.0)


def test_probability_is_a_softmax_over_the_best_spans_and_no_answer(tokenizer):
    two = AnswerConfig(n_best=2, max_answer_len=1)
    said = answerer(tokenizer, cls=(2.0, 0.0), answers=two, temperature=2.0)("what?", "x z")
    # Of one token each: x scores 5 + 0, z 0 + 5, "no answer" 2.
    assert said.text == "x"
    assert said.probability == pytest.approx(math.exp(2.5) / (2 * math.exp(2.5) + math.exp(1)))
    never = dataclasses.replace(two, no_answer="never")
    sure = answerer(tokenizer, cls=(2.0, 0.0), answers=never, temperature=2.0)("what?", "x z")
    assert sure.probability == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("trained_on_unanswerable", "no_answer", "text"),
    [(True, "auto", ""), (None, "auto", ""), (False, "auto", "xz"), (False, "allow", ""), (True, "never", "xz")],
)
def test_whether_no_answer_is_given(tokenizer, trained_on_unanswerable, no_answer, text):
    options = {"answers": AnswerConfig(no_answer=no_answer), "trained_on_unanswerable": trained_on_unanswerable}
    answer = answerer(tokenizer, cls=(9.0, 9.0), **options)("what?", "a xz")
    assert answer.text == text
    assert answer.null_odds == 18 - 10
    if not text:
        assert answer == Answer("", 0, 0, 18.0, answer.probability, 8.0, None)
        assert answer.probability > 0.99


@pytest.mark.parametrize(("threshold", "text"), [(7.9, ""), (8.0, "xz")])
def test_no_answer_iff_its_odds_exceed_the_threshold(tokenizer, threshold, text):
    config = AnswerConfig(null_threshold=threshold)
    assert answerer(tokenizer, cls=(9.0, 9.0), answers=config)("what?", "a xz").text == text


def test_passages_are_searched_together_and_named(tokenizer):
    passages = ["aaa", "b xy", "c xz d", ""]
    answers = next(answerer(tokenizer, cls=(1.0, 1.0)).many([("q", passages[:3])], top_k=2))
    assert [(a.text, a.passage, a.score) for a in answers] == [("xz", 2, 10.0), ("xy", 1, 8.0)]
    assert all(passages[a.passage][a.start : a.end] == a.text for a in answers)
    assert sum(a.probability for a in answers) < 1


def test_spans_of_one_place_are_one_answer(tokenizer):
    # "xz" and "xzaz" begin at one letter and score alike: one place, whose shorter span is kept.
    answers = next(answerer(tokenizer).many([("q", "xzaz bb xy")], top_k=3))
    assert [a.text for a in answers[:2]] == ["xz", "xy"]
    places = [(a.start, a.end) for a in answers]
    assert all(one[1] <= other[0] or other[1] <= one[0] for i, one in enumerate(places) for other in places[:i])


def test_a_long_passage_is_read_in_windows_that_agree_on_a_place(tokenizer):
    passage = "a" * 30 + " xbz " + "a" * 30
    short = answerer(tokenizer, windows=WindowConfig(max_seq_len=24, doc_stride=12))
    answers = next(short.many([("q", passage)], top_k=2))
    assert (answers[0].text, answers[0].start) == ("xbz", 31)
    assert answers[1].text != "xbz"


def test_an_answer_never_comes_from_the_question(tokenizer):
    assert answerer(tokenizer, answers=AnswerConfig(no_answer="never"))("xz", "abc").start < 3


def test_many_keeps_the_order_and_reads_as_it_goes(tokenizer):
    drawn = []

    def pairs():
        for i in range(100):
            drawn.append(i)
            yield "q", "a" * (i % 7) + " x" + "b" * (i % 5) + "z"

    answers = answerer(tokenizer, batch_size=2).many(pairs())
    texts = [next(answers)[0].text]
    assert len(drawn) == 32
    texts += [found[0].text for found in answers]
    assert texts == ["x" + "b" * (i % 5) + "z" for i in range(100)]


def test_batches_are_as_small_as_what_is_asked(tokenizer):
    one = answerer(tokenizer, batch_size=8)
    for count in (1, 3, 8, 9):
        list(one.many([("q", "xz")] * count))
    assert [rows for rows, _ in one._network.shapes] == [1, 4, 8, 8, 8]


def test_answers_do_not_depend_on_the_company(config, params, tokenizer):
    """With a real network: one by one, together, with other passages' padding."""
    config = dataclasses.replace(config, vocab_size=len(tokenizer.get_vocab()), max_position_embeddings=64)
    rng = np.random.default_rng(0)
    params = dict(params) | {"bert": dict(params["bert"])}
    params["bert"]["embeddings"] = dict(params["bert"]["embeddings"]) | {
        "word_embeddings": {"embedding": rng.normal(size=(config.vocab_size, 16)).astype(np.float32)},
        "position_embeddings": {"embedding": rng.normal(size=(64, 16)).astype(np.float32)},
    }
    ask = Answerer(JaxNetwork(Model(config, params)), tokenizer, QASettings(WindowConfig(64, 16, 16)))
    pairs = [("abc?", "abc def " * n) for n in (1, 4, 9)]
    together = [found[0] for found in ask.many(pairs)]
    alone = [ask(*pair) for pair in pairs]
    assert [a[:3] for a in together] == [a[:3] for a in alone]
    np.testing.assert_allclose([a.probability for a in together], [a.probability for a in alone], atol=1e-5)
    # And they are what `evaluate` finds, by the same settings.
    examples = [Example(str(i), question, context, ()) for i, (question, context) in enumerate(pairs)]
    data = Dataset(examples, build_windows(examples, tokenizer, ask.settings.windows))
    found = evaluate(JaxNetwork(Model(config, params)), data, AnswerConfig(no_answer="allow")).answers
    assert list(found.predictions.values()) == [a.text for a in alone]
    np.testing.assert_allclose(list(found.null_odds.values()), [a.null_odds for a in alone], atol=1e-4)


texts = st.text(st.sampled_from("abxyz é\u0301ß🎉👩\u200d🚀\n\tßüñ中।"), min_size=1, max_size=40).filter(str.strip)


@given(question=texts, passages=st.lists(texts, min_size=1, max_size=3), top_k=st.integers(1, 4))
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_text_is_the_passage_s_own(tokenizer, question, passages, top_k):
    never = AnswerConfig(no_answer="never")
    small = WindowConfig(max_seq_len=24, doc_stride=4, max_question_len=8)
    (answers,) = answerer(tokenizer, windows=small, answers=never).many([(question, passages)], top_k)
    assert 1 <= len(answers) <= top_k
    for answer in answers:
        source = "" if answer.passage is None else passages[answer.passage]
        assert source[answer.start : answer.end] == answer.text
        assert answer.text or len(answers) == 1
        assert 0 <= answer.probability <= 1 + 1e-9


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        (("", "text"), "pair 1: the question must be a text that is not empty, got ''"),
        (("q", " \n"), "pair 1: the context must be a text that is not empty"),
        (("q", ["text", ""]), "pair 1: the context must be a text that is not empty"),
        (("q", [None]), "pair 1: the context"),
        (("q", []), "pair 1 has no passage"),
        (("q\ud800", "text"), "pair 1: the question is not valid Unicode"),
    ],
)
@pytest.mark.usefixtures("unchecked_shapes")
def test_what_holds_no_text_is_refused(tokenizer, pair, message):
    with pytest.raises(UserError, match=message):
        list(answerer(tokenizer).many([("q", "text"), pair]))


def test_top_k_is_at_least_1(tokenizer):
    with pytest.raises(UserError, match="top_k must be at least 1, got 0"):
        list(answerer(tokenizer).many([("q", "a")], top_k=0))


def test_an_xlm_roberta_s_answers_are_of_the_passage_and_begin_with_no_space(tmp_path, random_params):
    """From its folder: the tokenizer, the padding and the positions are the family's."""
    tokenizer = write_unigram(tmp_path / "tokenizer")
    shape = {"pad_token_id": 1, "type_vocab_size": 1, "max_position_embeddings": 66}
    config = BertConfig(len(tokenizer), 16, 1, 2, 24, model_type="xlm-roberta", **shape)
    weights = random_params(BertForQuestionAnswering(config), 0)
    save_pretrained(tmp_path / "model", config, weights, tokenizer)
    answerer = Answerer.load(tmp_path / "model", batch_size=4)
    answerer.settings = dataclasses.replace(answerer.settings, answers=AnswerConfig(no_answer="never"))
    passages = [f"  {sentence}\n" for sentence in SENTENCES]
    (answers,) = answerer.many([("옛 다리?", passages)], top_k=20)
    assert len(answers) == 20
    for answer in answers:
        assert passages[answer.passage][answer.start : answer.end] == answer.text
        assert answer.text == "" or not answer.text[0].isspace()

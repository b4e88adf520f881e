import numpy as np
import pytest

from tests.scoring.test_answers import CLS, make_logits, make_windows
from tinybert_jax.scoring import AnswerConfig, Spans, best_spans, null_scores, padded_options


def test_passages_of_one_question_are_ranked_together():
    windows = make_windows((0, 0, 2), (1, 2, 2), (2, 4, 2))  # passages 0 and 1 are one question's
    logits = make_logits(windows, (0, 1, 3, 3), (1, 0, 4, 4), (2, 1, 1, 1), (0, CLS, 2, 2), (1, CLS, 1, 0))
    owner = np.array([0, 0, 1], np.int32)
    spans = best_spans(windows, logits, AnswerConfig(n_best=1), owner)
    first, second = spans.by_question(2)
    assert (first.passage.tolist(), first.score.tolist()) == ([1, 0], [8.0, 6.0])
    assert (first.begin.tolist(), first.end.tolist()) == ([6, 3], [8, 5])
    assert second.passage.tolist() == [2]
    assert null_scores(windows, logits, 2, owner) == [1.0, 0.0]


def test_a_place_that_windows_share_is_there_once_with_its_best_score():
    windows = make_windows((0, 0, 4), (0, 2, 4))
    logits = make_logits(windows, (0, 3, 3, 3), (1, 1, 4, 4))  # both are the passage's token 3
    spans = best_spans(windows, logits, AnswerConfig(n_best=3, max_answer_len=1))
    places = list(zip(spans.begin.tolist(), spans.end.tolist(), strict=True))
    assert len(set(places)) == len(places)
    assert (places[0], spans.score[0]) == ((9, 11), 8.0)


def test_questions_without_spans_are_empty():
    windows = make_windows((0, 0, 0), (1, 0, 1))
    nothing, one = best_spans(windows, make_logits(windows), AnswerConfig()).by_question(2)
    assert (len(nothing.score), len(one.score)) == (0, 1)


@pytest.mark.parametrize("no_answer", ["allow", "never"])
def test_is_null(no_answer):
    config = AnswerConfig(null_threshold=1.0, no_answer=no_answer)
    assert not config.is_null(1.0)
    assert config.is_null(1.1) == (no_answer == "allow")


def test_options_are_no_answer_and_the_best_spans():
    question = np.array([0, 0, 0, 2])
    place = np.zeros(4, int)
    spans = Spans(question, question, place, place + 1, np.array([3.0, 2.0, 1.0, 7.0], np.float32))
    options = padded_options(spans, np.array([0.5, 1.5, 2.5]), n_best=2)
    np.testing.assert_array_equal(options, [[0.5, 3, 2], [1.5, -np.inf, -np.inf], [2.5, 7, -np.inf]])

import dataclasses

import jax
import numpy as np
import pytest

from tinybert_jax.augment import masked_words
from tinybert_jax.augment.masked_words import MaskedWord, SpecialTokens, WordPredictor
from tinybert_jax.model import BertForMaskedLM, forward

CLS, SEP, MASK = 2, 3, 4
plain_forward = jax.jit(forward, static_argnums=0)


@pytest.fixture(scope="module")
def predictor(masked_lm):
    """`predictor(**settings)`, computing in float32."""

    def build(context=32, pair=False, count=4, replaceable=None, dtype="float32"):
        config, params, tokenizer = masked_lm
        if replaceable is None:
            replaceable = np.arange(len(tokenizer)) > 5
        special = SpecialTokens(CLS, SEP, MASK)
        config = dataclasses.replace(config, dtype=dtype)
        return WordPredictor(config, params, special, replaceable, count=count, context=context, pair=pair)

    return build


def texts(lengths, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.integers(6, 36, length).astype(np.int32) for length in lengths]


def by_hand(masked_lm, sequence, types, position, own, count):
    """The likeliest ids by a plain forward over one sequence, every position projected."""
    config, params, tokenizer = masked_lm
    ids = np.array([sequence], np.int32)
    batch = masked_words._Batch(ids, np.array([types], np.int32), ids >= 0, np.array([position]), np.array([own]))
    logits = np.array(plain_forward(BertForMaskedLM(config), params, batch).logits[0, position])
    logits[[*range(6), own, *range(len(tokenizer), config.vocab_size)]] = -np.inf
    return np.argsort(-logits, kind="stable")[:count].tolist()


@pytest.mark.parametrize("pair", [False, True])
def test_the_likeliest_words_by_hand(masked_lm, predictor, pair):
    words = [MaskedWord(text, position) for text in texts([5, 9, 1]) for position in range(0, len(text), 3)]
    found = dict(predictor(pair=pair).predict(words))
    assert set(found) == set(range(len(words)))
    for index, (pieces, position) in enumerate(words):
        text = pieces.tolist()
        masked = [*text[:position], MASK, *text[position + 1 :]]
        sequence, types = [CLS, *masked, SEP], [0] * (len(text) + 2)
        if pair:
            sequence, types = [*sequence, *text, SEP], [*types, *[1] * (len(text) + 1)]
        assert found[index] == by_hand(masked_lm, sequence, types, position + 1, text[position], 4)


@pytest.mark.parametrize(("pair", "window"), [(False, 30), (True, 14)])
def test_a_long_text_is_read_through_a_window_around_the_word(masked_lm, predictor, pair, window):
    (text,) = texts([100])
    words = [MaskedWord(text, position) for position in (0, 7, 50, 93, 99)]
    found = dict(predictor(pair=pair).predict(words))
    for index, begin in enumerate([0, 0, 50 - window // 2, 100 - window, 100 - window]):
        position = words[index].position - begin
        part = text[begin : begin + window].tolist()
        masked = [*part[:position], MASK, *part[position + 1 :]]
        sequence, types = [CLS, *masked, SEP], [0] * (window + 2)
        if pair:
            sequence, types = [*sequence, *part, SEP], [*types, *[1] * (window + 1)]
        assert found[index] == by_hand(masked_lm, sequence, types, position + 1, text[words[index].position], 4)


def test_the_context_is_no_longer_than_the_model_s_positions(predictor):
    (text,) = texts([100])
    assert len(dict(predictor(context=512).predict([MaskedWord(text, 99)]))[0]) == 4


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_word_s_candidates_do_not_depend_on_its_company(predictor, dtype):
    lengths = [30, 9, 20, 31, 3] * 12
    words = [MaskedWord(text, position) for text in texts(lengths) for position in range(0, len(text), 2)]
    model = predictor(context=40, dtype=dtype)
    together = dict(model.predict(words))
    assert len(words) > 2 * masked_words._TOKENS // 32  # several batches of a length, the last one partial
    for chosen in ([0], range(5, 500, 7), range(len(words) - 1, -1, -1)):
        alone = dict(model.predict([words[i] for i in chosen]))
        assert [alone[i] for i in range(len(alone))] == [together[i] for i in chosen]


def test_only_replaceable_words_and_never_the_word_itself(predictor, masked_lm):
    replaceable = np.zeros(len(masked_lm.tokenizer), bool)
    replaceable[[8, 20, 21]] = True
    (text,) = texts([12])
    text[:3] = [20, 21, 9]
    found = dict(predictor(replaceable=replaceable).predict([MaskedWord(text, position) for position in range(3)]))
    assert [set(found[i]) for i in range(3)] == [{8, 21}, {8, 20}, {8, 20, 21}]


def test_no_words_give_nothing(predictor):
    assert list(predictor().predict([])) == []


def test_the_vocabulary_is_projected_at_one_position_a_row(predictor):
    model = predictor()
    batch = model._collate([MaskedWord(text, 0) for text in texts([5, 6])], 32, 8)
    compiled = masked_words._best.lower(model._model, model._params, model._replaceable, batch, 4).compile()
    text = compiled.as_text()
    vocabulary = model._model.config.vocab_size
    assert f"f32[8,{vocabulary}]" in text or f"f32[8,1,{vocabulary}]" in text
    assert f"[8,32,{vocabulary}]" not in text and f"[256,{vocabulary}]" not in text

"""What a system is taken to have answered."""

import numpy as np
import pytest

from tinybert_jax.data import Dataset, WindowConfig, build_windows
from tinybert_jax.inference import Answerer, JaxNetwork, evaluate
from tinybert_jax.inference.settings import QASettings
from tinybert_jax.model import BertConfig, BertForQuestionAnswering, Model
from tinybert_jax.report.systems import of_model
from tinybert_jax.scoring import AnswerConfig


def test_a_file_s_answers_are_those_at_its_threshold(ours, theirs):
    assert ours.answers == ["Ada", "Tarn", "", "", ""]
    assert ours.is_right.tolist() == [True, False, True, False, True]
    assert (ours.metrics["exact"], ours.threshold) == (60.0, 0.0)
    assert ours.odds.tolist() == [-4, -1, 1, 2, 3]
    assert theirs.is_right.tolist() == [False, True, True, True, False]
    assert theirs.odds is theirs.threshold is theirs.probability is None


@pytest.mark.parametrize("no_answer", ["allow", "never"])
def test_a_model_s_probabilities_are_those_it_answers_with(examples, tokenizer, random_params, no_answer):
    config = BertConfig(len(tokenizer), 16, 1, 2, 16, max_position_embeddings=128)
    network = JaxNetwork(Model(config, random_params(BertForQuestionAnswering(config), seed=2)))
    settings = QASettings(WindowConfig(128, 32, 48), AnswerConfig(no_answer=no_answer), temperature=1.7)
    dataset = Dataset(examples, build_windows(examples, tokenizer, settings.windows))
    evaluation = evaluate(network, dataset, settings.answers, batch_size=8, buckets=(128,))
    system = of_model("m", examples, evaluation, settings.temperature)
    asked = Answerer(network, tokenizer, settings, batch_size=8)
    answers = [best for (best,) in asked.many((example.question, example.context) for example in examples)]
    assert system.answers == [answer.text for answer in answers]
    assert system.starts == [answer.start if answer.text else None for answer in answers]
    np.testing.assert_allclose(system.probability, [answer.probability for answer in answers], rtol=1e-4)
    assert system.threshold == (None if no_answer == "never" else 0.0)

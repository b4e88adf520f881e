import dataclasses

import pytest

from tinybert_jax.model import BertConfig
from tinybert_jax.synthetic import task
from tinybert_jax.synthetic.generate import SyntheticConfig

SHAPE = {"num_hidden_layers": 1, "num_attention_heads": 2, "max_position_embeddings": 64}
MODEL = BertConfig(hidden_size=16, intermediate_size=16, **SHAPE)
DATA = SyntheticConfig(train_articles=1, dev_articles=1, paragraphs_per_article=2)
TASK = task.SyntheticTask(DATA, MODEL, MODEL, vocab_size=300)


class Generates(Exception):
    pass


def test_a_task_is_written_once_and_another_one_is_not_taken_for_it(tmp_path, monkeypatch, random_params):
    folder = tmp_path / "task"
    monkeypatch.setattr(task, "init_params", lambda network, _: random_params(network, 0))  # drawn without compiling
    task.write_task(TASK, 0, folder)
    assert {path.name for path in folder.iterdir()} == {"task.json", "train.json", "dev.json", "teacher", "student"}

    def generate(_):
        raise Generates

    monkeypatch.setattr(task, "make_squad", generate)
    task.write_task(dataclasses.replace(TASK), 0, folder)
    for other, seed in ((TASK, 1), (dataclasses.replace(TASK, data=dataclasses.replace(DATA, seed=1)), 0)):
        with pytest.raises(Generates):
            task.write_task(other, seed, folder)

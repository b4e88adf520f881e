"""The quickstart's task on disk: generated data, and two untrained models with a tokenizer of its words."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import jax

from tinybert_jax.errors import check_least, check_numbers
from tinybert_jax.model import BertConfig, BertForQuestionAnswering, init_params, save_pretrained
from tinybert_jax.store.digests import new_key
from tinybert_jax.store.files import atomic_path, read_json, write_json
from tinybert_jax.synthetic.generate import SyntheticConfig, make_squad, train_tokenizer


@dataclass(frozen=True)
class SyntheticTask:
    """A data set and two untrained models, generated at the start of the run instead of being fetched.

    Attributes:
        data: what to generate.
        teacher: the teacher's shape, but for the vocabulary.
        student: the student's.
        vocab_size: the most pieces that the tokenizer trained on the data may have.
    """

    data: SyntheticConfig
    teacher: BertConfig
    student: BertConfig
    vocab_size: int

    def __post_init__(self) -> None:
        check_numbers(self)
        check_least(self, vocab_size=1)


def write_task(task: SyntheticTask, seed: int, folder: Path) -> None:
    """Writes the task's data and untrained models, unless the folder holds them already.

    Args:
        task: what to generate.
        seed: of the models' parameters.
        folder: gets train.json, dev.json, and the folders teacher and student.
    """
    marker, content = folder / "task.json", new_key(task, seed).hexdigest()  # all that decides the files
    if marker.exists() and read_json(marker) == content:
        return
    train, dev = make_squad(task.data)
    tokenizer = train_tokenizer(train, task.vocab_size)
    with atomic_path(folder) as temporary:
        write_json(temporary / marker.name, content)
        write_json(temporary / "train.json", train)
        write_json(temporary / "dev.json", dev)
        for index, name in enumerate(("teacher", "student")):
            config = dataclasses.replace(getattr(task, name), vocab_size=len(tokenizer))
            key = jax.random.fold_in(jax.random.key(seed), index)
            params = init_params(BertForQuestionAnswering(config), key)
            save_pretrained(temporary / name, config, params, tokenizer)

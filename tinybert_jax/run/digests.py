"""What a run is made of, as digests: a file edited in place has the same name, and another digest.

A digest is of content as it was read, so that a file may be moved, and a data set of the hub is known by its questions.
"""

import hashlib

from tinybert_jax.data import Dataset
from tinybert_jax.data.arrow import ArrowExamples
from tinybert_jax.data.example import questions_digest
from tinybert_jax.data.tokenizer import tokenizer_digest
from tinybert_jax.model import Model
from tinybert_jax.run.prepare import Ingredients
from tinybert_jax.store.digests import add_params


def digests(ingredients: Ingredients) -> dict[str, str]:
    """SHA-256 digests of a run's models, data and tokenizer, by the recipe's names for them.

    It takes 0.7 s a GB of weights and 0.4 s for SQuAD's training set (AMD EPYC, one core). Arrow files, and what
    augmentation is made of, have been digested before, for the cache.
    """
    models = {"student": ingredients.student, "teacher": ingredients.teacher}
    models |= {f"more_teachers.{i}": model for i, model in enumerate(ingredients.more_teachers)}
    data = {"train": [ingredients.train]}
    if ingredients.dev is not None:
        data["dev"] = [ingredients.dev]
    if ingredients.held_out is not None:
        data["train"].append(ingredients.held_out)
    if ingredients.augmented is not ingredients.train:
        data["augmented"] = [ingredients.augmented]
    found = {name: _of_model(model) for name, model in models.items() if model is not None}
    found |= {name: "-".join(map(_of_data, parts)) for name, parts in data.items()}
    found["tokenizer"] = tokenizer_digest(ingredients.tokenizer)
    if ingredients.candidates is not None:
        found["augment"] = ingredients.candidates.key
    return found


def _of_model(model: Model) -> str:
    sha256 = hashlib.sha256(repr(model.config).encode())
    add_params(sha256, model.params)
    return sha256.hexdigest()


def _of_data(data: Dataset) -> str:
    if isinstance(data.examples, ArrowExamples) or not data.examples:
        return data.key  # which is of the whole file, or corpus
    return questions_digest(data.examples)

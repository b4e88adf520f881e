"""A student, its teacher and its twin without distillation, all with random weights, and a certified export."""

import json
from pathlib import Path

from tests.test_calibrate import SIZES, squad
from tinybert_jax.export import export
from tinybert_jax.model import BertConfig, BertForQuestionAnswering, save_pretrained

FIGURES = ("exact", "f1")


def make(folder: Path, tokenizer, teachers_tokenizer, random_params) -> Path:
    """Writes data.json (24 questions), the models and `out`, the student's export, into a folder.

    The teacher's vocabulary has another order.
    """
    (folder / "data.json").write_text(json.dumps(squad(24)))
    config = BertConfig(vocab_size=len(tokenizer.get_vocab()), max_position_embeddings=64, **SIZES)
    tokenizers = {"teacher": teachers_tokenizer, "student": tokenizer, "plain": tokenizer}
    for seed, (name, own) in enumerate(tokenizers.items()):  # of one shape: compiled once
        save_pretrained(folder / name, config, random_params(BertForQuestionAnswering(config), seed), own)
    others = {"teacher": str(folder / "teacher"), "undistilled": str(folder / "plain")}
    export(str(folder / "student"), folder / "out", int8=True, data=str(folder / "data.json"), **others)
    return folder

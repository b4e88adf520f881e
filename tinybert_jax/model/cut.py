"""A smaller model made of parts of a bigger one: the student that nobody has pre-trained.

Layer m of a student with the teacher's evenly spaced layers starts as the teacher's layer m · L_t / L_s, the one that
TinyBERT's uniform map compares it with. Starting from the teacher's layers is DistilBERT's way (Sanh et al. 2019,
section 3), which took every second one.
"""

import dataclasses
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from tinybert_jax.errors import UserError, check
from tinybert_jax.model.pretrained import Model

_RULE = (
    'a number of evenly spaced layers ("6"), "half" of them, layers counted from 0 ("0,2,4"), "first", "last", '
    '"first:4" or "last:4"'
)


def layers_of(chosen: str, teacher_layers: int) -> tuple[int, ...]:
    """The layers that a choice names, from 0, in the student's order.

    Args:
        chosen: "6", so many evenly spaced ones, which end with the last; "half", half of them, evenly spaced;
            "0,2,4,7,9,11", these; "first" or "last", the half at that end; "first:4" or "last:4", so many there.
        teacher_layers: how many there are.

    Raises:
        UserError: it is none of these, or the teacher does not have such layers.
    """
    text = chosen.replace(" ", "")
    if re.fullmatch(r"(\d+,)+\d*", text):
        layers = tuple(int(layer) for layer in text.split(",") if layer)
        rule = f"from 0 to {teacher_layers - 1}, as it has {teacher_layers}"
        check("layers of the teacher", chosen, max(layers) < teacher_layers, rule)
        return layers
    form = re.fullmatch(r"(\d+)|half|(first|last)(?::(\d+))?", text)
    if form is None:
        raise UserError(f"layers of the teacher must be {_RULE}, got {chosen!r}")
    evenly, end, number = form.groups()
    count = int(evenly or number or max(teacher_layers // 2, 1))
    check("layers of the teacher", chosen, 1 <= count <= teacher_layers, f"1 to {teacher_layers}")
    if end is not None:
        begin = 0 if end == "first" else teacher_layers - count
        return tuple(range(begin, begin + count))
    if teacher_layers % count:
        raise UserError(
            f"layers of the teacher must divide its {teacher_layers} to be evenly spaced, got {count}: name the layers "
            'yourself, counted from 0, as in "0,2,3"'
        )
    step = teacher_layers // count
    return tuple(range(step - 1, teacher_layers, step))


def cut_student(teacher: Model, layers: Sequence[int], positions: int | None = None) -> Model:
    """A student with some of its teacher's layers, and its embeddings and head.

    Args:
        teacher: any model of ours; its arrays are shared, never changed.
        layers: which of its layers, from 0, in the student's order.
        positions: the longest row that the student reads, in tokens; None for the teacher's.

    Raises:
        UserError: the teacher does not have such layers, or that many positions.
    """
    config, bert = teacher.config, teacher.params["bert"]
    if not layers or not all(0 <= layer < config.num_hidden_layers for layer in layers):
        raise UserError(f"layers must be one or more from 0 to {config.num_hidden_layers - 1}, got {tuple(layers)}")
    stack = bert["encoder"]["layer"]
    encoder = {**bert["encoder"], "layer": {str(m): stack[str(g)] for m, g in enumerate(layers)}}
    config = dataclasses.replace(config, num_hidden_layers=len(layers))
    student = Model(config, {**teacher.params, "bert": {**bert, "encoder": encoder}})
    return student if positions is None else _cut_positions(student, positions)


def _cut_positions(model: Model, positions: int) -> Model:
    """The model with a position table for rows of `positions` tokens.

    Raises:
        UserError: the table is shorter already.
    """
    config = model.config
    check("positions of the student", positions, 1 <= positions <= config.max_positions, f"1 to {config.max_positions}")
    rows = positions + config.max_position_embeddings - config.max_positions
    table = model.params["bert"]["embeddings"]["position_embeddings"]["embedding"][:rows]
    config = dataclasses.replace(config, max_position_embeddings=rows)
    return Model(config, _with_table(model, "position_embeddings", table))


def trim_vocabulary(model: Model, kept: np.ndarray) -> Model:
    """The model with the word embeddings of some tokens alone; of these, it computes what it did.

    Args:
        model: its arrays are shared, but for the word embeddings.
        kept: (V,) ids of the tokens, ascending; a token's place is its new id. The padding token is among them, and
            where positions are counted from its id, as a RoBERTa's, so are all before it.

    Raises:
        UserError: they are not.
    """
    config = model.config
    pad = int(np.searchsorted(kept, config.pad_token_id))
    moves_positions = config.family.counts_after_padding and pad != config.pad_token_id
    if config.pad_token_id not in kept or moves_positions:
        raise UserError(
            f"kept must hold the padding token's id {config.pad_token_id}, and a RoBERTa's all before it, got "
            f"{kept[: pad + 1]}"
        )
    table = model.params["bert"]["embeddings"]["word_embeddings"]["embedding"][kept]
    config = dataclasses.replace(config, vocab_size=len(kept), pad_token_id=pad)
    return Model(config, _with_table(model, "word_embeddings", table))


def _with_table(model: Model, name: str, table: np.ndarray) -> dict[str, Any]:
    bert = model.params["bert"]
    embeddings = {**bert["embeddings"], name: {"embedding": table}}
    return {**model.params, "bert": {**bert, "embeddings": embeddings}}

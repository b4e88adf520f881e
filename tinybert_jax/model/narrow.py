"""A narrower model made of some hidden units, heads and neurons of a wider one, chosen by its weights alone.

Kept are the hidden units that LayerNorm scales most, which vary most from token to token; of each group of consecutive
heads (the groups that stage 1 compares, see `distill.mapping.group_heads`) the one whose values and output weigh most;
and the neurons that weigh most. Units are selected, not rotated: LayerNorm's scale and bias belong to single units.
docs/students.md has what was measured of this and of other ways.
"""

import dataclasses
from typing import Any

import numpy as np

from tinybert_jax.errors import UserError, check
from tinybert_jax.model.config import BertConfig
from tinybert_jax.model.pretrained import Model

_Layer = dict[str, Any]


def narrow_student(teacher: Model, width: int, heads: int | None = None) -> Model:
    """A student as deep as its teacher and narrower, with what the teacher computes by the parts that are kept.

    Args:
        teacher: a question-answering model.
        width: hidden units of the student; its feed-forward networks shrink in proportion.
        heads: attention heads of the student; None for as many of the teacher's width as make up `width`.

    Raises:
        UserError: the student cannot have such a shape, or its teacher not such parts.
    """
    config = _shape(teacher.config, width, heads)
    bert = teacher.params["bert"]
    stack = bert["encoder"]["layer"]
    units = _largest(np.sum([_variances(layer) for layer in stack.values()], axis=0), width)
    layers = {name: _narrow_layer(layer, units, teacher.config, config) for name, layer in stack.items()}
    head = teacher.params["qa_outputs"]
    params = {
        "bert": {"embeddings": _narrow_embeddings(bert["embeddings"], units), "encoder": {"layer": layers}},
        "qa_outputs": {**head, "kernel": head["kernel"][units]},
    }
    return Model(config, params)


def _shape(teacher: BertConfig, width: int, heads: int | None) -> BertConfig:
    check("width of the student", width, 1 <= width <= teacher.hidden_size, f"1 to its teacher's {teacher.hidden_size}")
    if heads is None:
        size = teacher.head_size
        rule = f"a multiple of {size}, the units of a teacher's head, where the number of heads is not given"
        check("width of the student", width, width % size == 0, rule)
        heads = width // size
    check("heads of the student", heads, heads >= 1 and width % heads == 0, f"a divisor of its width {width}")
    rule = f"a divisor of its teacher's {teacher.num_attention_heads}"
    check("heads of the student", heads, teacher.num_attention_heads % heads == 0, rule)
    rule = "other than that of the embeddings, between which and layers as wide transformers has no projection"
    check("width of the student", width, width != teacher.embedding_size, rule)
    if width // heads > teacher.head_size:
        raise UserError(
            f"heads of the student can be of {teacher.head_size} units at most, as its teacher's are, got {heads} "
            f"heads for a width of {width}: give more heads, or a smaller width"
        )
    neurons = max(1, teacher.intermediate_size * width // teacher.hidden_size)
    shape = {"hidden_size": width, "num_attention_heads": heads, "intermediate_size": neurons}
    return dataclasses.replace(teacher, **shape)


def _variances(layer: _Layer) -> np.ndarray:
    """How much each hidden unit varies over tokens in both halves of a layer, as far as LayerNorm decides it: (D,)."""
    first, second = (half["output"]["LayerNorm"]["scale"] for half in (layer["attention"], layer))
    return np.square(first) + np.square(second)


def _narrow_embeddings(tables: dict[str, Any], units: np.ndarray) -> dict[str, Any]:
    if "embeddings_project" in tables:  # the tables are of another width
        return {**tables, "embeddings_project": _columns(tables["embeddings_project"], units)}
    return {name: {leaf: array[..., units] for leaf, array in part.items()} for name, part in tables.items()}


def _narrow_layer(layer: _Layer, units: np.ndarray, teacher: BertConfig, student: BertConfig) -> _Layer:
    attention, wide, output = layer["attention"], layer["intermediate"]["dense"], layer["output"]
    own, joined = attention["self"], attention["output"]
    scored, summed = _parts_of_heads(attention, teacher, student)
    neurons = _largest(_norms(wide["kernel"], 0) * _norms(output["dense"]["kernel"], 1), student.intermediate_size)
    # Scores are divided by the square root of the student's fewer units.
    scale = np.float32((student.head_size / teacher.head_size) ** 0.5)
    query = _columns(_rows(own["query"], units), scored)
    return {
        "attention": {
            "self": {
                "query": {leaf: array * scale for leaf, array in query.items()},
                "key": _columns(_rows(own["key"], units), scored),
                "value": _columns(_rows(own["value"], units), summed),
            },
            "output": _narrow_residual(joined, summed, units),
        },
        "intermediate": {"dense": _columns(_rows(wide, units), neurons)},
        "output": _narrow_residual(output, neurons, units),
    }


def _parts_of_heads(attention: _Layer, teacher: BertConfig, student: BertConfig) -> tuple[np.ndarray, np.ndarray]:
    """The columns of queries and keys, and those of values, that the student's heads keep."""
    heads, size = teacher.num_attention_heads, teacher.head_size
    own, output = attention["self"], attention["output"]["dense"]["kernel"]
    query, key, value = (own[name]["kernel"].reshape(-1, heads, size) for name in ("query", "key", "value"))
    output = output.reshape(heads, size, -1)
    # ‖V_h O_h‖² = trace(V_hᵀV_h O_hO_hᵀ)
    weights = np.einsum("dhi,dhj,hie,hje->h", value, value, output, output, optimize=True)
    groups = weights.reshape(student.num_attention_heads, -1)
    kept = groups.argmax(axis=1) + np.arange(len(groups)) * groups.shape[1]

    def columns(weight: np.ndarray) -> np.ndarray:
        return np.concatenate([head * size + _largest(weight[head], student.head_size) for head in kept])

    return columns(_norms(query, 0) * _norms(key, 0)), columns(_norms(value, 0) * _norms(output, 2))


def _narrow_residual(part: _Layer, rows: np.ndarray, units: np.ndarray) -> _Layer:
    norm = {leaf: array[units] for leaf, array in part["LayerNorm"].items()}
    return {"dense": _columns(_rows(part["dense"], rows), units), "LayerNorm": norm}


def _rows(dense: dict[str, np.ndarray], kept: np.ndarray) -> dict[str, np.ndarray]:
    return {**dense, "kernel": dense["kernel"][kept]}


def _columns(dense: dict[str, np.ndarray], kept: np.ndarray) -> dict[str, np.ndarray]:
    return {leaf: array[..., kept] for leaf, array in dense.items()}


def _norms(array: np.ndarray, axis: int) -> np.ndarray:
    return np.sqrt(np.square(array).sum(axis))


def _largest(weights: np.ndarray, count: int) -> np.ndarray:
    """Indices of the largest weights, ascending; of equal ones the first."""
    return np.sort(np.argsort(-weights, kind="stable")[:count])

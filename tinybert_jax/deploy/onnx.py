"""The question-answering networks as ONNX: written from our own parameters, no other framework between.

What `model/bert.py` computes, in standard operations of opset 17. GELU is written out, because its own operation came
with opset 20; onnxruntime recognises the equation and fuses it, bias and all. Deliberately left out: other heads.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx
from flax.traverse_util import flatten_dict

from tinybert_jax.deploy.graph import Graph
from tinybert_jax.deploy.size import check_size
from tinybert_jax.model.config import BertConfig

_LEAST = float(np.finfo(np.float32).min)


def input_names(config: BertConfig) -> list[str]:
    """What the graph reads. transformers.js and Optimum feed no segments to a family that has one kind, or none."""
    return ["input_ids", "attention_mask", *["token_type_ids"] * config.family.segments]


def to_onnx(config: BertConfig, params: Mapping[str, Any]) -> onnx.ModelProto:
    """The network as an ONNX model: int64 tokens in, float32 `start_logits` and `end_logits` (batch, length) out.

    As in the networks here, tokens where `attention_mask` is 0 do not matter.

    Args:
        config: the network's shape. Products are computed in float32, whatever its `dtype`.
        params: `{"bert": …, "qa_outputs": …}`.

    Raises:
        UserError: as `check_size`.
    """
    check_size(config)
    g = Graph({".".join(path): np.asarray(leaf, np.float32) for path, leaf in flatten_dict(params).items()})
    real = g("Cast", "attention_mask", to=onnx.TensorProto.BOOL)
    # Added to scores. The least number, not −∞: a row without a real token then gets equal probabilities, not NaN.
    padding = g("Unsqueeze", g("Where", real, 0.0, _LEAST), [1, 2])
    x = _embeddings(g, config, real)
    for i in range(config.num_hidden_layers):
        x = _layer(g, config, x, padding, f"bert.encoder.layer.{i}")
    logits = _dense(g, x, "qa_outputs")
    # An index without axes takes its axis away.
    outputs = {f"{name}_logits": g("Gather", logits, i, axis=2) for i, name in enumerate(("start", "end"))}
    return g.model(input_names(config), outputs)


def _embeddings(g: Graph, config: BertConfig, real: str) -> str:
    ids = g("Where", real, "input_ids", config.pad_token_id)
    if config.family.counts_after_padding:
        counted = g("Cast", g("Not", g("Equal", ids, config.pad_token_id)), to=onnx.TensorProto.INT64)
        positions = g("Add", g("Mul", g("CumSum", counted, 1), counted), config.pad_token_id)
    else:
        length = g("Gather", g("Shape", "input_ids"), 1)
        positions = g("Range", 0, length, 1)
    tables = {"word": ids, "position": positions}
    if config.type_vocab_size:
        tables["token_type"] = "token_type_ids" if config.family.segments else g("Mul", ids, 0)
    x, *others = (
        g("Gather", f"bert.embeddings.{name}_embeddings.embedding", indices) for name, indices in tables.items()
    )
    for vectors in others:
        x = g("Add", x, vectors)
    x = _layer_norm(g, config, x, "bert.embeddings")
    return x if config.embedding_size is None else _dense(g, x, "bert.embeddings.embeddings_project")


def _layer(g: Graph, config: BertConfig, x: str, padding: str, name: str) -> str:
    context = _attention(g, config, x, padding, f"{name}.attention.self")
    x = _residual(g, config, context, x, f"{name}.attention.output")
    wide = ACTIVATIONS[config.hidden_act](g, _dense(g, x, f"{name}.intermediate.dense"))
    return _residual(g, config, wide, x, f"{name}.output")


def _attention(g: Graph, config: BertConfig, x: str, padding: str, name: str) -> str:
    def heads(part: str, order: list[int]) -> str:
        split = g("Reshape", _dense(g, x, f"{name}.{part}"), [0, 0, config.num_attention_heads, config.head_size])
        return g("Transpose", split, perm=order)

    queries, keys, values = heads("query", [0, 2, 1, 3]), heads("key", [0, 2, 3, 1]), heads("value", [0, 2, 1, 3])
    scores = g("Mul", g("MatMul", queries, keys), config.head_size**-0.5)
    probabilities = g("Softmax", g("Add", scores, padding), axis=-1)
    context = g("Transpose", g("MatMul", probabilities, values), perm=[0, 2, 1, 3])
    return g("Reshape", context, [0, 0, config.hidden_size])


def _residual(g: Graph, config: BertConfig, x: str, residual: str, name: str) -> str:
    return _layer_norm(g, config, g("Add", _dense(g, x, f"{name}.dense"), residual), name)


def _dense(g: Graph, x: str, name: str) -> str:
    return g("Add", g("MatMul", x, f"{name}.kernel"), f"{name}.bias")


def _layer_norm(g: Graph, config: BertConfig, x: str, name: str) -> str:
    parameters = (f"{name}.LayerNorm.scale", f"{name}.LayerNorm.bias")
    return g("LayerNormalization", x, *parameters, axis=-1, epsilon=config.layer_norm_eps)


def _gelu(g: Graph, x: str) -> str:
    """In the order of operations that onnxruntime fuses."""
    return g("Mul", g("Mul", x, g("Add", g("Erf", g("Div", x, 2**0.5)), 1.0)), 0.5)


def _gelu_tanh(g: Graph, x: str) -> str:
    cubic = g("Add", x, g("Mul", g("Mul", g("Mul", x, x), x), 0.044715))
    return g("Mul", g("Mul", x, g("Add", g("Tanh", g("Mul", cubic, (2 / np.pi) ** 0.5)), 1.0)), 0.5)


def _sigmoid_gate(scale: float) -> Callable[[Graph, str], str]:
    return lambda g, x: g("Mul", x, g("Sigmoid", x if scale == 1 else g("Mul", x, scale)))


# By the names of `model/ops/activations.py`.
ACTIVATIONS: dict[str, Callable[[Graph, str], str]] = {
    "gelu": _gelu,
    "gelu_python": _gelu,
    "gelu_new": _gelu_tanh,
    "gelu_fast": _gelu_tanh,
    "gelu_pytorch_tanh": _gelu_tanh,
    "quick_gelu": _sigmoid_gate(1.702),
    "relu": lambda g, x: g("Relu", x),
    "silu": _sigmoid_gate(1.0),
}

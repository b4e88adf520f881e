"""An ONNX graph, written as its equations are: `g("Add", x, 1.0)` adds a node and names what it makes."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

import tinybert_jax

OPSET = 17  # the first with LayerNormalization; onnxruntime and onnxruntime-web run it from 1.12 on
_IR_VERSION = 8  # the file format of that time: later ones are refused by the runtimes of that time

Value = str | float | int | Sequence[int]


class Graph:
    """A graph in the making.

    Args:
        parameters: arrays that nodes name as inputs.
    """

    def __init__(self, parameters: Mapping[str, np.ndarray]):
        self._nodes: list[onnx.NodeProto] = []
        self._constants = [numpy_helper.from_array(array, name) for name, array in parameters.items()]
        self._named: dict[tuple[Any, ...], str] = {}

    def __call__(self, operation: str, *inputs: Value, **attributes: Any) -> str:
        """Adds a node.

        Args:
            operation: of ONNX.
            inputs: names of values, or constants: a float is a float32 one, whole numbers are int64 ones.
            attributes: the operation's.

        Returns:
            The name of its result.
        """
        result = f"{operation}_{len(self._nodes)}"
        names = [value if isinstance(value, str) else self._constant(value) for value in inputs]
        self._nodes.append(helper.make_node(operation, names, [result], name=result, **attributes))
        return result

    def _constant(self, value: float | Sequence[int]) -> str:
        array = np.asarray(value, np.float32 if isinstance(value, float) else np.int64)
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._named:
            self._named[key] = f"constant_{len(self._named)}"
            self._constants.append(numpy_helper.from_array(array, self._named[key]))
        return self._named[key]

    def model(self, inputs: Sequence[str], outputs: Mapping[str, str]) -> onnx.ModelProto:
        """The model, checked, of int64 inputs and float32 outputs of any batch size and length.

        Args:
            inputs: their names.
            outputs: names, to the values that they stand for.
        """
        renamed = [helper.make_node("Identity", [value], [name], name=name) for name, value in outputs.items()]
        graph = helper.make_graph(
            self._nodes + renamed,
            "question_answering",
            [helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "length"]) for name in inputs],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", "length"]) for name in outputs],
            self._constants,
        )
        model = helper.make_model(
            graph,
            producer_name="tinybert_jax",
            producer_version=tinybert_jax.__version__,
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=_IR_VERSION,
        )
        onnx.checker.check_model(model, full_check=True)
        return model

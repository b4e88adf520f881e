"""Eight-bit copies of exported networks: weights as int8, activations rounded as they come."""

from pathlib import Path

import onnx
from onnxruntime.quantization import QuantType, quantize_dynamic

_IN_FLOAT = "qa_outputs"  # two columns: nothing to save, and what they round is the answer itself


def write_int8(model: onnx.ModelProto, path: Path) -> None:
    """Writes an int8 copy of a network that `to_onnx` made, about a quarter of its size.

    onnxruntime's dynamic quantisation: each column of a kernel has its own scale, without which answers go astray;
    embedding tables have one each. Attention's products of two activations, LayerNorms and the span head stay float32.
    Weights use seven bits: with eight, processors without VNNI clip sums of two products, without a word, so that the
    same file gives other logits there than in a browser.

    Args:
        model: the network; left as it is.
        path: the file to write.
    """
    prepared = onnx.ModelProto()
    prepared.CopyFrom(model)
    # Says that onnxruntime's own preparation of graphs, which finds nothing to do here, need not be asked for.
    onnx.helper.set_model_props(prepared, {"onnx.quant.pre_process": "onnxruntime.quant"})
    quantize_dynamic(
        prepared,
        path,
        op_types_to_quantize=["MatMul", "Gather"],
        per_channel=True,
        reduce_range=True,
        weight_type=QuantType.QInt8,
        nodes_to_exclude=[node.name for node in model.graph.node if any(_IN_FLOAT in name for name in node.input)],
    )

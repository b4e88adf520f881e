"""An exported .onnx file at work, in place of a network of ours."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from tinybert_jax.data import Batch
from tinybert_jax.errors import UserError
from tinybert_jax.extras import require
from tinybert_jax.model.config import BertConfig
from tinybert_jax.model.pretrained import load_config

FILES = ("onnx/model.onnx", "onnx/model_int8.onnx")  # in order of preference; transformers.js looks for these names
_INPUTS = {"input_ids", "attention_mask", "token_type_ids"}
_OUTPUTS = ["start_logits", "end_logits"]


class OnnxNetwork(NamedTuple):
    """A question-answering network that onnxruntime runs on the CPU: `network(batch)` gives its logits.

    Attributes:
        config: the network's shape, as `config.json` beside the file has it.
        session: of onnxruntime.
    """

    config: BertConfig
    session: Any

    @classmethod
    def load(cls, folder: str | Path, file: str | None = None) -> "OnnxNetwork":
        """Loads the network of a folder that `tinybert export --to onnx` wrote.

        Args:
            folder: with `config.json`.
            file: which of its .onnx files, "onnx/model_int8.onnx" say; the float32 one where there is one.

        Raises:
            UserError: there is no such file, onnxruntime cannot read it or is not installed, or it is no
                question-answering network.
        """
        runtime = require("onnxruntime", "onnx")
        present = [name for name in FILES if (Path(folder) / name).is_file()]
        if file is None and not present:
            raise UserError(f"{folder} holds no network for onnxruntime: {' or '.join(FILES)} must be there")
        path = Path(folder) / (file or present[0])
        if not path.is_file():
            raise UserError(f"{path} must be an .onnx file, and there is none: {folder} has {present or 'no other'}")
        config = load_config(folder)
        try:
            session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
        except Exception as error:  # its exceptions have no common base of its own
            raise UserError(f"onnxruntime cannot read {path}: {error}") from error
        _check_names(path, session)
        return cls(config, session)

    def lengths(self, longest: int) -> tuple[int, ...]:
        """Nothing is compiled for a length: they lie so close that next to nothing is padded."""
        return (*range(8, longest, 8), longest)

    def __call__(self, batch: Batch) -> Float[np.ndarray, "B T 2"]:
        """Start and end logits, float32; those of padding mean nothing.

        Raises:
            UserError: the batch is longer than the network's position table.
        """
        length = batch.input_ids.shape[1]
        if length > self.config.max_positions:
            raise UserError(
                f"rows must fit the position table, which holds {self.config.max_positions} tokens, got {length}"
            )
        names = [given.name for given in self.session.get_inputs()]
        feeds = {name: np.asarray(getattr(batch, name), np.int64) for name in names}
        return np.stack(self.session.run(_OUTPUTS, feeds), axis=-1)


def _check_names(path: Path, session: Any) -> None:
    inputs = [given.name for given in session.get_inputs()]
    outputs = [made.name for made in session.get_outputs()]
    if set(inputs) - _INPUTS or set(_OUTPUTS) - set(outputs):
        raise UserError(
            f"{path} must read {', '.join(sorted(_INPUTS))} and make {', '.join(_OUTPUTS)}, got a network that reads "
            f"{', '.join(inputs)} and makes {', '.join(outputs)}: it is not a question-answering export"
        )

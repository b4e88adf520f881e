"""What one exported file can hold."""

from tinybert_jax.errors import UserError
from tinybert_jax.model.config import BertConfig
from tinybert_jax.model.tree import shapes

_LARGEST = 2**31 - 2**20  # bytes: of a protobuf message, and of a flatbuffer; less room for the graph


def check_size(config: BertConfig) -> None:
    """Refuses, before anything is read or written, a model that one file cannot hold: both formats end at 2 GiB.

    Raises:
        UserError: the parameters are 2 GiB or more.
    """
    size = sum(4 * leaf.size for leaf in shapes(config, "question-answering").values())
    if size > _LARGEST:
        raise UserError(
            f"the parameters must take less than 2 GiB, which is all that an exported file can hold, got "
            f"{size / 2**30:.2f} GiB: distil the model into a smaller one first"
        )

"""Question-answering data sets of the hub, a row a question, read through `datasets`."""

from collections.abc import Iterator
from typing import Any

from tinybert_jax.data.example import Example
from tinybert_jax.data.validation import Row, hold
from tinybert_jax.errors import UserError


def read_hub(source: str, check_offsets: bool) -> list[Example]:
    """Reads a data set and its split, named "owner/name:split".

    Raises:
        UserError: it cannot be loaded, or as `to_example`.
    """
    return hold(_rows(source), check_offsets)


def _rows(source: str) -> Iterator[Row]:
    from datasets import load_dataset
    from datasets.exceptions import DatasetsError

    name, _, split = source.partition(":")
    try:
        rows: Any = load_dataset(name, split=split)
    except (OSError, ValueError, DatasetsError) as error:
        raise UserError(f"cannot load hub data set {source}: {error}") from error
    for r, row in enumerate(rows):
        yield Row(f"hub data set {source}, row {r}", row)

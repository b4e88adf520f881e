"""Arrow files in the streaming format, written and read some rows at a time."""

import itertools
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from tinybert_jax.errors import UserError


def write_rows(path: Path, schema: Any, rows: Iterable[Mapping[str, Any]], at_once: int) -> None:
    """Writes rows without holding more than `at_once` of them, which become a record batch."""
    import pyarrow as pa

    rows = iter(rows)
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, schema) as writer:
        while some := list(itertools.islice(rows, at_once)):
            writer.write_batch(pa.RecordBatch.from_pylist(some, schema=schema))


def read_batches(path: Path, schema: Any, content: str) -> Iterator[Any]:
    """Yields the record batches of a memory-mapped file.

    Args:
        path: the file.
        schema: what it must have.
        content: what the file must hold, for the message.

    Raises:
        UserError: missing, unreadable, damaged, or another schema.
    """
    import pyarrow as pa

    try:
        with pa.memory_map(str(path)) as file, pa.ipc.open_stream(file) as reader:
            if reader.schema != schema:
                raise UserError(f"{path} must hold {content}, got {', '.join(reader.schema.names)}")
            for batch in reader:
                batch.validate(full=True)  # reading a damaged batch could end the process
                yield batch
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"cannot read the Arrow file {path}: {error}") from error

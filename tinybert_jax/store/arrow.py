"""Arrow files in the streaming format, written and read some rows at a time.

Behind the stream's end, where no reader looks, ours have a seal: the CRC-32 of all before it. The schema's metadata
promise it, so that a file that was cut off between two batches, which to Arrow is a whole one, is found out too.
"""

import itertools
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from tinybert_jax.errors import UserError
from tinybert_jax.store.cache import Part

_SEAL = b"CRC-32: %08x"
_SEALED = re.compile(rb"CRC-32: [0-9a-f]{8}")
_PROMISE = {"sealed": "crc32"}


def write_rows(path: Path, schema: Any, rows: Iterable[Mapping[str, Any]], at_once: int) -> None:
    """Writes rows without holding more than `at_once` of them, which become a record batch."""
    import pyarrow as pa

    rows, schema = iter(rows), schema.with_metadata(_PROMISE)
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, schema) as writer:
        while some := list(itertools.islice(rows, at_once)):
            writer.write_batch(pa.RecordBatch.from_pylist(some, schema=schema))
    seal = _SEAL % Part.of(path).crc32
    with path.open("ab") as file:
        file.write(seal)


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
            _check_seal(path, promised=b"sealed" in (reader.schema.metadata or {}))
            for batch in reader:
                batch.validate(full=True)  # reading a damaged batch could end the process
                yield batch
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"cannot read the Arrow file {path}: {error}") from error


def _check_seal(path: Path, promised: bool) -> None:
    """Compares a file with its seal; those that others wrote have none, and promise none."""
    with path.open("rb") as file:
        end = max(0, file.seek(0, os.SEEK_END) - len(_SEAL % 0))
        file.seek(end)
        seal = file.read()
    is_sealed = _SEALED.fullmatch(seal) is not None
    if (is_sealed or promised) and seal != _SEAL % Part.of(path, end).crc32:
        raise UserError(f"cannot read the Arrow file {path}: it is damaged, or cut off: make it, or fetch it, again")

"""The memory that the devices have, and batches that cannot fit into it, refused before anything is computed."""

import os

import jax

from tinybert_jax.errors import check
from tinybert_jax.model.config import BertConfig

_TOKEN = 3 * 4  # bytes of what a network is given of it


def device_memory() -> int:
    """Bytes that one device can have."""
    stats = jax.local_devices()[0].memory_stats()
    if stats and "bytes_limit" in stats:
        return stats["bytes_limit"]
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // jax.local_device_count()


def check_scored_batch(field: str, batch_size: int, length: int) -> None:
    """Checks that a batch to score can be held at all, at its shortest: what a network is given of it.

    Args:
        field: the setting's name.
        batch_size: B, rows.
        length: the shortest that rows are padded to, in tokens.

    Raises:
        UserError: it cannot.
    """
    _check(field, batch_size, length * _TOKEN, jax.local_device_count())


def check_trained_batch(field: str, batch_size: int, length: int, config: BertConfig) -> None:
    """Checks that a batch to train on can be held at all, at its shortest: every layer's output waits for its gradient.

    Args:
        field: the setting's name.
        batch_size: B, rows, over all devices.
        length: the shortest that rows are padded to, in tokens.
        config: the model that is trained.

    Raises:
        UserError: it cannot.
    """
    states = 2 * config.hidden_size * config.num_hidden_layers  # in bfloat16
    _check(field, batch_size, length * (_TOKEN + states), jax.device_count())


def _check(field: str, batch_size: int, row: int, devices: int) -> None:
    room = devices * device_memory()
    rule = f"at most {room // row}: a row takes {row:,} bytes or more, and the devices have {room / 1e9:.1f} GB"
    check(field, batch_size, batch_size * row <= room, rule)

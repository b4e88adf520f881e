"""Several processes that share a cache, one after another in this one."""

import pytest

from tinybert_jax.processes import Sharing
from tinybert_jax.store import shares


class _Waits(Exception):
    """A process has come to where it waits for the others."""


def _waits(_):
    raise _Waits


def made_by(count, make, before_joining=lambda: None):
    """Calls `make` in so many processes, each until it waits, and in the first one, which comes last, to its end."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Sharing, "by", tuple(range(count)))
        for process in reversed(range(1, count)):
            patch.setattr(shares, "index", lambda process=process: process)
            patch.setattr(shares, "all_say", _waits)
            patch.setattr(shares, "in_turn", _waits)
            with pytest.raises(_Waits):
                make()
        patch.setattr(shares, "index", lambda: 0)
        patch.setattr(shares, "all_say", lambda _: before_joining())
        patch.setattr(shares, "in_turn", lambda fill: fill())
        return make()


def contents(folder):
    """Every file's bytes, the manifest's too; not what tells of time."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "metrics.jsonl"}

"""The student's way to the hub, once a run is done."""

import sys
from pathlib import Path

from tinybert_jax.hub import check_push, push
from tinybert_jax.run.hooks import Hook


class Push(Hook):
    """Sends the exported student to the hub: it is no part of the run, which is the same one with it or without.

    Args:
        name: where to, "owner/name".
        private: only its owner sees it.
    """

    def __init__(self, name: str, *, private: bool = False) -> None:
        self._name, self._private = name, private

    def check(self) -> None:
        """Asks the hub whether it would take it."""
        check_push(self._name, self._private)

    def done(self, output: Path) -> None:
        """Sends it."""
        print(f"pushed to {push(output / 'export', self._name, private=self._private)}", file=sys.stderr)

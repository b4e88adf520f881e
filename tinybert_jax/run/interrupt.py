"""Ctrl-C and SIGTERM ask a run to stop after the step at hand, with a checkpoint."""

import signal
from types import FrameType, TracebackType


class StopSignals:
    """Context manager; `requested` holds the signal's number once one has come. A second Ctrl-C stops at once."""

    def __init__(self) -> None:
        self.requested: int | None = None

    def __enter__(self) -> "StopSignals":
        self._previous = {number: signal.signal(number, self._request) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _request(self, number: int, frame: FrameType | None) -> None:
        if self.requested is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.requested = number

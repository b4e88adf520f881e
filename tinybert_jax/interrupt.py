"""Ctrl-C, SIGTERM and a limit of time end a command in one way, wherever it is.

The first signal raises `Stopped` where the program is, so that temporary files are removed on the way out; a training
loop holds it back until its step is done. A second Ctrl-C ends the process at once, as SIGKILL would: what is on the
disk is whole either way.
"""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import ClassVar

OUT_OF_TIME = 75  # EX_TEMPFAIL of sysexits.h: try again later
_TIMER = getattr(signal, "SIGALRM", None)  # Windows has none
_NUMBERS = [number for number in (signal.SIGINT, signal.SIGTERM, _TIMER) if number is not None]


class Stopped(SystemExit):
    """The command was asked to stop; `code` is its exit status.

    Attributes:
        again: what the same command does when it is given again.
    """

    again: str = ""


class StopSignals:
    """What signals have asked of this process, which has one such state as it has one handler of each signal.

    Attributes:
        requested: the first signal's number, once one has come.
        held: whether it waits for a loop to end.
    """

    requested: ClassVar[int | None] = None
    held: ClassVar[bool] = False

    @classmethod
    def handle(cls, number: int, frame: FrameType | None) -> None:
        """The handler of each signal."""
        if cls.requested is None:
            cls.requested = number
            if not cls.held:
                cls.stop()
        elif number == signal.SIGINT:  # others may come twice by accident: `timeout` sends them so
            os._exit(128 + number)

    @classmethod
    def stop(cls) -> None:
        """Raises `Stopped`, where a signal has come."""
        if cls.requested is not None:
            raise Stopped(OUT_OF_TIME if cls.requested == _TIMER else 128 + cls.requested)


@contextmanager
def stop_signals(again: str) -> Iterator[None]:
    """Has signals raise `Stopped` in the block, and says what "the same command" then does: "continues", say.

    Where blocks are nested, the innermost says it. In other threads than the main one nothing is changed.
    """
    if threading.current_thread() is not threading.main_thread():  # Python hands signals to that one alone
        yield
        return
    before = {number: signal.signal(number, StopSignals.handle) for number in _NUMBERS}
    try:
        yield
    except Stopped as stopped:
        stopped.again = stopped.again or again
        raise
    finally:
        if _TIMER is not None:
            signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler)
        if before[signal.SIGINT] != StopSignals.handle:  # the outermost block
            StopSignals.requested = None


@contextmanager
def held_signals() -> Iterator[type[StopSignals]]:
    """Holds signals back: the block asks `requested` now and then, and is stopped at its end at the latest."""
    StopSignals.held = True
    try:
        yield StopSignals
    finally:
        StopSignals.held = False
    StopSignals.stop()


def stop_after(seconds: float) -> bool:
    """Has the `stop_signals` block that it is called in stopped after so many seconds, with status 75.

    Returns:
        Whether the system has a timer for it.
    """
    if _TIMER is not None:
        signal.setitimer(signal.ITIMER_REAL, seconds)
    return _TIMER is not None

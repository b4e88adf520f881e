"""The one exception that means "the input is at fault", and how a script ends on it."""

import dataclasses
import errno
import math
import os
import shutil
import sys
import warnings
from collections.abc import Callable, Collection
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from tinybert_jax.interrupt import Stopped, stop_signals

_LARGEST_INT, _LARGEST_FLOAT = 2**31 - 1, 3.4e38  # of 32 bits each, as arrays have them
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class UserError(ValueError):
    """Something the user can correct: the message states the rule, the value received and what to do.

    Library code raises it; scripts print it without a traceback and exit with status 2.
    """


class NotFinite(UserError):
    """Training diverged: a figure of it, or a parameter, is not finite.

    Attributes:
        step: after which step it is so, counted from 1.
    """

    def __init__(self, said: str, step: int) -> None:
        super().__init__(f"{said} at step {step}; try a lower learning rate, a longer warm-up or float32 computation")
        self.step = step


def check(field: str, value: object, holds: bool, rule: str) -> None:
    """Raises a UserError that states the rule and the value where the rule does not hold.

    Args:
        field: the setting's name, as the user wrote it.
        value: what it was set to.
        holds: whether the value is allowed.
        rule: what is allowed, "in [0, 1)" say.
    """
    if not holds:
        raise UserError(f"{field} must be {rule}, got {value}")


def check_numbers(settings: Any, but: Collection[str] = ()) -> None:
    """Checks what holds for every number among a dataclass's fields: it is finite, and an array can hold it.

    Args:
        settings: the dataclass; of a tuple every item is checked, and what is no number is passed over.
        but: fields that may be infinite.

    Raises:
        UserError: a field is not a number, or too large.
    """
    for field in (field.name for field in dataclasses.fields(settings)):
        value = getattr(settings, field)
        for number in value if isinstance(value, tuple) else (value,):
            if isinstance(number, float) and field in but:
                check(field, number, not math.isnan(number), "a number")
            elif isinstance(number, float):
                check(field, number, math.isfinite(number), "a finite number")
                check(field, number, abs(number) <= _LARGEST_FLOAT, f"at most {_LARGEST_FLOAT}")
            elif isinstance(number, int):
                check(field, number, abs(number) <= _LARGEST_INT, f"at most {_LARGEST_INT}")


def check_choices(settings: Any) -> None:
    """Checks every field of a dataclass that takes one of a few names: a misspelt one would count as any other.

    Args:
        settings: the dataclass. A field's names are those of its `Literal`; types beside it, as in
            `Literal["uniform"] | tuple[int, ...]`, allow all that is no text.

    Raises:
        UserError: a field has another name.
    """
    kinds = get_type_hints(type(settings))
    for field in (field.name for field in dataclasses.fields(settings)):
        kind, value = kinds[field], getattr(settings, field)
        options = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
        names = [name for option in options if get_origin(option) is Literal for name in get_args(option)]
        if names and (isinstance(value, str) or len(options) == 1):
            check(field, repr(value), value in names, f"one of {', '.join(map(repr, names))}")


def check_least(settings: object, **least: float) -> None:
    """Checks fields of `settings` against their smallest allowed values; a field that is None is not set.

    Raises:
        UserError: a field is below its least value, or not a number.
    """
    for field, bound in least.items():
        value = getattr(settings, field)
        check(field, value, value is None or value >= bound, f"at least {bound}")


def check_read(field: str, value: Any, unset: Any, is_read: bool, why: str, instead: str | None = None) -> None:
    """Raises a UserError where a flag was given that nothing would read.

    Args:
        field: the setting's name, of which the flag is made.
        value: what it is set to; of a group of flags, their dataclass.
        unset: what it would be without the flag.
        is_read: whether anything reads it.
        why: why not.
        instead: what may be given for it to be read.
    """
    if value != unset and not is_read:
        shown = ".*" if dataclasses.is_dataclass(value) else "" if isinstance(value, bool) else f" {value}"
        advice = "leave it out" if instead is None else f"leave it out, or give {instead}"
        raise UserError(f"--{field.replace('_', '-')}{shown} would not be read, as {why}: {advice}")


def explain(error: OSError) -> str:
    """What the operating system refused, where, and how much room there is; in a line."""
    said = " ".join(f"{error.filename}: {error.strerror}".split()) if error.filename else " ".join(str(error).split())
    if error.filename and error.errno in _NO_ROOM:
        said += f", with {room(Path(error.filename))} free there: make room"
    return said


def room(path: Path) -> str:
    """The room that is left where `path` is, or would be."""
    return f"{free_bytes(path) / 1e6:,.1f} MB"


def free_bytes(path: Path) -> int:
    """The same in bytes."""
    return shutil.disk_usage(nearest(path)).free


def nearest(path: Path) -> Path:
    """`path`, or the nearest folder above it that there is."""
    return next(folder for folder in (path, *path.absolute().parents) if folder.exists())


def run_script(main: Callable[[], int | None], again: str = "begins again") -> None:
    """Runs a script's `main` and exits with its status.

    That is 2 on a `UserError`, and where the operating system refuses something, as on a full disk; 130 on Ctrl-C, 143
    on SIGTERM, 75 where the time that the user gave it is over.

    Args:
        main: the script.
        again: what the same command does after one of these signals: "continues", where it keeps what it has done.
    """
    # transformers says at each start that PyTorch is missing: nothing here needs it.
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
    warnings.formatwarning = lambda message, *_, **__: f"warning: {message}\n"
    try:
        with stop_signals(again):
            sys.exit(main() or 0)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except OSError as error:
        print(f"error: {explain(error)}", file=sys.stderr)
        sys.exit(2)
    except Stopped as stopped:
        print(f"stopped: the same command {stopped.again}", file=sys.stderr)
        raise

"""The one exception that means "the input is at fault", and how a script ends on it."""

import os
import sys
import warnings
from collections.abc import Callable

from tinybert_jax.interrupt import Stopped, stop_signals


class UserError(ValueError):
    """Something the user can correct: the message states the rule, the value received and what to do.

    Library code raises it; scripts print it without a traceback and exit with status 2.
    """


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


def check_least(settings: object, **least: float) -> None:
    """Checks fields of `settings` against their smallest allowed values; a field that is None is not set.

    Raises:
        UserError: a field is below its least value, or not a number.
    """
    for field, bound in least.items():
        value = getattr(settings, field)
        check(field, value, value is None or value >= bound, f"at least {bound}")


def run_script(main: Callable[[], int | None], again: str = "begins again") -> None:
    """Runs a script's `main` and exits with its status.

    That is 2 on a `UserError`, 130 on Ctrl-C, 143 on SIGTERM, 75 where the time that the user gave it is over.

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
    except Stopped as stopped:
        print(f"stopped: the same command {stopped.again}", file=sys.stderr)
        raise

"""The one exception that means "the input is at fault", and how a script ends on it."""

import sys
import warnings
from collections.abc import Callable


class UserError(ValueError):
    """Something the user can mend: the message states the rule, the value received and what to do.

    Library code raises it; scripts print it without a traceback and exit with status 2.
    """


def run_script(main: Callable[[], int | None]) -> None:
    """Runs a script's `main` and exits with its status: 2 on a `UserError`, 130 on Ctrl-C."""
    warnings.formatwarning = lambda message, *_, **__: f"warning: {message}\n"
    try:
        sys.exit(main() or 0)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)

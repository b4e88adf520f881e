"""Damaged and hostile input of every kind, and what becomes of it.

    python -m tests.fuzz --inputs 2000 --seed 0

Each input is read by a process that may be lost. It must be refused by one `UserError`, or read; a traceback, a wrong
input that is taken silently, more than a minute, more than 8 GB of addresses, or the end of the process is a failure.
An input is named by its kind and its number, and is always the same: `--only arrow:17` shows what came of that one.
"""

import argparse
import contextlib
import io
import json
import random
import resource
import signal
import subprocess
import sys
import tempfile
import traceback
import warnings
from collections import Counter
from pathlib import Path

from tinybert_jax.errors import UserError

OUTCOMES = ("refused", "read", "traceback", "silent", "hang", "memory", "crash")
_SECONDS, _BYTES = 60, 8 << 30


def outcome(kind: str, number: int, sound: object, folder: Path) -> tuple[str, str]:
    """What becomes of an input, and what was said."""
    from tests.fuzz_inputs import KINDS, Sound

    assert isinstance(sound, Sound)
    tried = KINDS[kind](sound, folder, random.Random(f"{kind}:{number}"))
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            found = tried.read()
    except UserError as error:
        return "refused", str(error)
    except SystemExit as ended:  # a command line that its parser refuses
        return ("refused" if ended.code == 2 else "traceback"), f"status {ended.code}"
    except MemoryError:
        return "memory", ""
    except Exception:
        return "traceback", traceback.format_exc()
    is_other = tried.sound is not None and found != tried.sound
    return ("silent", repr(found)[:200]) if tried.is_wrong or is_other else ("read", "")


def work() -> None:
    """Tries the inputs that standard input names, a line each, and answers in lines."""
    from tests.fuzz_inputs import Sound

    warnings.simplefilter("ignore")
    answers, sys.stdout = sys.stdout, sys.stderr
    with tempfile.TemporaryDirectory() as base:
        sound = Sound(Path(base))
        resource.setrlimit(resource.RLIMIT_AS, (_BYTES, _BYTES))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        for line in sys.stdin:
            kind, number = json.loads(line)
            signal.alarm(_SECONDS)  # which ends the process, whatever it is in the middle of
            with tempfile.TemporaryDirectory() as folder:
                said = outcome(kind, number, sound, Path(folder))
            signal.alarm(0)
            print(json.dumps(said), file=answers, flush=True)


class Worker:
    """A process that tries inputs, and is started again where one ends it."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "tests.fuzz", "--worker"]
        self._command, self._process = command, self._start(command)

    def __call__(self, kind: str, number: int) -> tuple[str, str]:
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(json.dumps([kind, number]) + "\n")
        self._process.stdin.flush()
        if line := self._process.stdout.readline():
            found, said = json.loads(line)
            return found, said
        status = self._process.wait()
        self._process = self._start(self._command)
        return ("hang" if status == -signal.SIGALRM else "crash"), f"status {status}"

    def end(self) -> None:
        self._process.kill()
        self._process.wait()

    @staticmethod
    def _start(command: list[str]) -> "subprocess.Popen[str]":
        root = Path(__file__).parents[1]
        return subprocess.Popen(command, cwd=root, text=True, stdin=-1, stdout=-1, stderr=subprocess.DEVNULL)


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--inputs", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", help="KIND:NUMBER")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        work()
        return 0
    from tests.fuzz_inputs import KINDS

    first, kinds = arguments.seed * 1_000_000, list(KINDS)
    inputs = [(kinds[i % len(kinds)], first + i // len(kinds)) for i in range(arguments.inputs)]
    if arguments.only:
        kind, number = arguments.only.split(":")
        inputs = [(kind, int(number))]
    worker, counts = Worker(), {kind: Counter[str]() for kind in kinds}
    for kind, number in inputs:
        found, said = worker(kind, number)
        counts[kind][found] += 1
        if found not in ("refused", "read") or arguments.only:
            print(f"{kind}:{number}: {found}: {said}", flush=True)
    worker.end()
    print(f"| kind | {' | '.join(OUTCOMES)} |\n|{' --- |' * (len(OUTCOMES) + 1)}")
    for kind, of in counts.items():
        print(f"| {kind} | {' | '.join(str(of[name]) for name in OUTCOMES)} |")
    failures = sum(of[name] for of in counts.values() for name in OUTCOMES[2:])
    print(f"{len(inputs)} inputs, {failures} failures")
    return bool(failures)


if __name__ == "__main__":
    sys.exit(main())

"""The command `tinybert NAME …`, and `python -m tinybert_jax NAME …`: one name for all commands."""

import importlib
import sys
from importlib.metadata import PackageNotFoundError, version

from tinybert_jax.errors import UserError, run_script
from tinybert_jax.interrupt import stop_signals

# Name -> module with a `main`, imported for the command that is asked for alone; what it does.
COMMANDS = {
    "train": ("train", "distil a student from a teacher, by a recipe"),
    "evaluate": ("evaluate", "score a model, or a file of predictions, by the official SQuAD rules"),
    "ask": ("ask", "answer questions about passages"),
    "calibrate": ("calibrate", "tune on held-out data when a model says that there is no answer, and how sure it is"),
    "convert": ("convert", "write a checkpoint in another layout"),
    "export": ("export", "write a model for other programs to run: ONNX, StableHLO"),
    "certify": ("certify", "measure what a model's files score, and verify that they are still those files"),
    "augment": ("augment.__main__", "write a data set with copies in which words are replaced"),
    "cache": ("cache", "list what is kept between runs, or remove it"),
}

_CONTINUED = ("train", "ask", "augment")  # commands that keep what they have done when a signal ends them


def main() -> int | None:
    """Runs the command that the first argument names."""
    name, *arguments = sys.argv[1:] or ["--help"]
    if name in ("-h", "--help"):
        print("usage: tinybert COMMAND …\n\nTinyBERT distillation of question-answering models, in JAX.\n\ncommands:")
        for command, (_, summary) in COMMANDS.items():
            print(f"  {command:<10}{summary}")
        print("\n`tinybert COMMAND --help` says more; `tinybert --version` prints the version.")
        return None
    if name == "--version":
        print(f"tinybert {_version()}")
        return None
    if name not in COMMANDS:
        raise UserError(f"unknown command {name!r}: one of {', '.join(COMMANDS)} must come first")
    sys.argv = [f"tinybert {name}", *arguments]
    with stop_signals("continues" if name in _CONTINUED else "begins again"):
        return importlib.import_module(f"tinybert_jax.{COMMANDS[name][0]}").main()


def _version() -> str:
    try:
        return version("tinybert-jax")
    except PackageNotFoundError:  # run from a checkout
        return "(not installed)"


def run() -> None:
    """The installed command."""
    run_script(main)


if __name__ == "__main__":
    run()

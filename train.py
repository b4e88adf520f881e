"""Distil a question-answering BERT: `python train.py --help`. The code: tinybert_jax/train.py."""

import importlib

from tinybert_jax.errors import run_script

if __name__ == "__main__":
    # Imported inside, as a signal may come before JAX is there.
    run_script(lambda: importlib.import_module("tinybert_jax.train").main(), "continues")

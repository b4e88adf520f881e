"""Score a model or a file of predictions: `python evaluate.py --help`. The code: tinybert_jax/evaluate.py."""

import importlib

from tinybert_jax.errors import run_script

if __name__ == "__main__":
    # Imported inside, as a signal may come before JAX is there.
    run_script(lambda: importlib.import_module("tinybert_jax.evaluate").main())

"""Score a model or a file of predictions: `python evaluate.py --help`. The code: tinybert_jax/evaluate.py."""

from tinybert_jax.errors import run_script
from tinybert_jax.evaluate import main

if __name__ == "__main__":
    run_script(main)

"""Distil a question-answering BERT: `python train.py --help`. The code: tinybert_jax/train.py."""

from tinybert_jax.errors import run_script
from tinybert_jax.train import main

if __name__ == "__main__":
    run_script(main)

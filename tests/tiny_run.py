"""Runs of seconds, and hooks that look on: a little model fine-tuned on generated data, and the quickstart shrunk."""

import dataclasses
import json
from pathlib import Path

import jax
import numpy as np

import tinybert_jax
from tinybert_jax.distill import Finetune
from tinybert_jax.model import BertConfig, BertForQuestionAnswering, init_params, save_pretrained
from tinybert_jax.run.hooks import Hook
from tinybert_jax.run.recipe import Recipe, Stage
from tinybert_jax.run.recipes import RECIPES
from tinybert_jax.synthetic.generate import SyntheticConfig, make_squad, train_tokenizer


def make_recipe(folder: Path, **changes) -> Recipe:
    """Twelve steps on three generated articles; data and model are written into `folder`."""
    data, dev = make_squad(SyntheticConfig(train_articles=3, dev_articles=1, paragraphs_per_article=2))
    for name, content in (("train", data), ("dev", dev)):
        (folder / f"{name}.json").write_text(json.dumps(content))
    write_model(folder / "student", data, seed=0)
    recipe = dataclasses.replace(
        RECIPES["finetune-teacher"](),
        student=str(folder / "student"),
        train=str(folder / "train.json"),
        dev=str(folder / "dev.json"),
        stages=(Stage(objective=Finetune(), batch_size=4, max_steps=12, learning_rate=1e-2),),
        windows=dataclasses.replace(RECIPES["quickstart"]().windows, max_seq_len=128),
        buckets=(128,),
        dtype="float32",  # not measured by each run for itself
        cache=folder / "cache",
        log_every=4,
        checkpoint_every=3,
    )
    return dataclasses.replace(recipe, **changes)


def write_model(folder: Path, data, seed: int) -> None:
    """A model that knows nothing yet, with a tokenizer of the data's words."""
    tokenizer = train_tokenizer(data, 600)
    shape = {"num_hidden_layers": 1, "num_attention_heads": 2, "max_position_embeddings": 128}
    config = BertConfig(vocab_size=len(tokenizer), hidden_size=16, intermediate_size=16, **shape)
    params = init_params(BertForQuestionAnswering(config), jax.random.key(seed))
    save_pretrained(folder, config, params, tokenizer)


def tiny_arguments(cache, *more):
    """The quickstart, shrunk until it takes seconds."""
    sizes = {"hidden-size": 16, "num-attention-heads": 2, "intermediate-size": 16, "hidden-dropout-prob": 0.1}
    arguments = ["quickstart", "--cache", str(cache), "--windows.max-seq-len", "128", "--buckets", "128"]
    arguments += ["--dtype", "float32"]  # not measured by each run for itself
    arguments += ["--synthetic.data.train-articles", "2", "--synthetic.data.dev-articles", "1"]
    arguments += ["--synthetic.data.paragraphs-per-article", "3", "--log-every", "5", "--checkpoint-every", "20"]
    for model, layers in (("teacher", 2), ("student", 1)):
        arguments += [f"--synthetic.{model}.num-hidden-layers", str(layers)]
        arguments += [word for key, value in sizes.items() for word in (f"--synthetic.{model}.{key}", str(value))]
    for stage, steps in (("teacher-stages.0", 10), ("stages.0", 150), ("stages.1", 10)):
        arguments += [f"--{stage}.batch-size", "4", f"--{stage}.max-steps", str(steps), f"--{stage}.epochs", "100"]
        arguments += [f"--{stage}.dropout", "0.1"]
    return [*arguments, *more]


class Copies(Hook):
    """A hook of one's own: keeps a copy of the parameters after every step."""

    def __init__(self):
        self.params = {}

    def step(self, done, state, metrics):
        self.params[done] = jax.tree.map(np.array, state.params["model"])


class Kill(Hook):
    """Ends the process, as far as the run can tell, once a step is taken."""

    def __init__(self, at):
        self.at = at

    def step(self, done, state, metrics):
        if done == self.at:
            raise KeyboardInterrupt


def final(output: Path):
    return tinybert_jax.load_pretrained(output / "student" / "1-finetune" / "final")[1]


def equal(one, other) -> bool:
    return jax.tree.all(jax.tree.map(np.array_equal, one, other))

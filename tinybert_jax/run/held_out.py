"""Articles held out of training, and a hook that scores the model on their questions while it trains."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from tinybert_jax.data import Dataset, Example
from tinybert_jax.distill import TrainState
from tinybert_jax.errors import UserError
from tinybert_jax.inference import JaxNetwork, evaluate
from tinybert_jax.model import Model
from tinybert_jax.processes import from_first
from tinybert_jax.run.hooks import Hook, Publish, StageRun
from tinybert_jax.run.recipe import Recipe
from tinybert_jax.sharding import data_mesh
from tinybert_jax.tracking import HELD_OUT_F1, read_metrics


def hold_out(examples: Iterable[Example], share: float, seed: int) -> tuple[list[Example], list[Example]]:
    """Takes a share of the articles away from training: (what is left, what is held out), in their order.

    A question goes with its article's others, as those are about the same text. An article is what shares a title;
    without one, what shares a context.

    Args:
        examples: the questions.
        share: of the articles, in (0, 1); at least one is held out, and at least one is left.
        seed: of the choice.

    Raises:
        UserError: there are not two articles.
    """
    parts: tuple[list[Example], list[Example]] = [], []
    examples = list(examples)
    articles = list(dict.fromkeys(map(_article, examples)))
    if len(articles) < 2:
        raise UserError(
            "hold_out_questions takes whole articles away: the training data needs at least 2 titles (or contexts, "
            f"where it has no titles), got {len(articles)}"
        )
    count = min(max(round(share * len(articles)), 1), len(articles) - 1)
    chosen = np.random.default_rng(seed).choice(len(articles), count, replace=False)
    held_out = {articles[i] for i in chosen}
    for example in examples:
        parts[_article(example) in held_out].append(example)
    return parts


def _article(example: Example) -> tuple[str, str]:
    return (example.title, "") if example.title else ("", example.context)


class _Score(NamedTuple):
    step: int
    f1: float


class Evaluation(Hook):
    """Scores the model on the questions held out; None of them, or a stage that trains no span head: does nothing.

    What it knows of earlier steps it reads off metrics.jsonl, so that a stage which continues goes on as it would have.

    Attributes:
        best: the step with the highest F1, the first of equal ones, and that F1; None before the first.
    """

    best: _Score | None = None

    def __init__(self, data: Dataset | None, recipe: Recipe) -> None:
        self._data, self._recipe = data, recipe
        self.every = recipe.eval_every or 1

    def start(self, run: StageRun, publish: Publish) -> None:
        """Recalls the scores of the steps done before."""
        self._run, self._publish = run, publish
        self._active = self._data is not None and run.stage.objective.trains_answers
        self.best, self._without_gain, self.finished = None, 0, False
        for line in from_first(lambda: read_metrics(run.folder)):
            if line["stage"] == run.name:
                self.record(line)

    def step(self, done: int, state: TrainState, metrics: Mapping[str, Any]) -> None:
        """Scores the state, in all processes at once."""
        if self._data is None or not self._active:
            return
        settings = {"batch_size": self._recipe.eval_batch_size, "buckets": self._recipe.batch_lengths}
        network = JaxNetwork(Model(self._run.network.config, state.params["model"]), mesh=data_mesh())
        scores = evaluate(network, self._data, self._recipe.answers, **settings).metrics
        figures = {"held_out_exact": float(scores["exact"]), HELD_OUT_F1: float(scores["f1"])}
        self._publish({"stage": self._run.name, "step": done, **figures})

    def record(self, line: Mapping[str, Any]) -> None:
        """Compares a score to the best so far."""
        if HELD_OUT_F1 not in line:
            return
        if self.best is None or line[HELD_OUT_F1] > self.best.f1:
            self.best, self._without_gain = _Score(line["step"], line[HELD_OUT_F1]), 0
        else:
            self._without_gain += 1
            self.finished = self._recipe.patience is not None and self._without_gain >= self._recipe.patience

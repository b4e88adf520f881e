"""What a stage on a corpus is measured by: its loss on rows that are held out of training, before and after."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from tinybert_jax.data import eval_batches
from tinybert_jax.distill import TrainState, make_loss
from tinybert_jax.run.hooks import Hook, Publish, StageRun
from tinybert_jax.run.prepare import Ingredients
from tinybert_jax.run.recipe import Recipe
from tinybert_jax.run.stages import Teaching
from tinybert_jax.sharding import data_mesh, shard_batch
from tinybert_jax.tracking import read_metrics

_ROWS = 512  # measured at most: the first of those held out, which come from all over the corpus' beginning
_PREFIX = "unseen_"


class UnseenRows(Hook):
    """Measures the stage's loss and its terms on held-out rows; without a corpus, does nothing."""

    every = sys.maxsize  # after the last step alone

    def __init__(self, recipe: Recipe, ingredients: Ingredients, taught: Teaching, params: dict[str, Any]) -> None:
        """Notes what to measure.

        Args:
            recipe: the run's.
            ingredients: with the corpus' rows.
            taught: the stage's teacher.
            params: what the stage begins with, as in `TrainState`; read before the first step alone.
        """
        self._recipe, self._taught, self._params = recipe, taught, params
        self._rows = ingredients.held_out.windows if recipe.corpus and ingredients.held_out else None

    def start(self, run: StageRun, publish: Publish) -> None:
        """Measures a stage that begins."""
        self._run, self._publish = run, publish
        params, self._params = self._params, {}  # which the first step takes away
        if self._rows is None or self._taught.network is None:
            return
        self._loss = make_loss(run.network, self._taught.network, run.stage.objective)
        if run.start == 0:
            self._measure(0, params)

    def step(self, done: int, state: TrainState, metrics: Mapping[str, Any]) -> None:
        """Measures a stage that ends."""
        self._measure(done, state.params)

    def _measure(self, done: int, params: dict[str, Any]) -> None:
        if self._rows is None or self._taught.params is None:
            return
        rows = self._rows.slice(0, min(_ROWS, len(self._rows)))
        weights, found = [], []
        for indices, batch in eval_batches(rows, self._run.stage.batch_size, self._recipe.batch_lengths):
            found.append(self._loss(params, self._taught.params, shard_batch(batch, data_mesh())))
            weights.append(len(indices))
        terms = {name: [float(one[name]) for one in jax.device_get(found)] for name in found[0]}
        means = {f"{_PREFIX}{name}": float(np.average(values, weights=weights)) for name, values in terms.items()}
        self._publish({"stage": self._run.name, "step": done, **means})


def unseen_losses(folder: Path) -> dict[str, dict[str, dict[str, float]]]:
    """What a model's stages on a corpus have changed: {stage: {"before": {"loss", …}, "after": …}}."""
    measured: dict[str, list[dict[str, float]]] = {}
    for line in read_metrics(folder):
        terms = {name.removeprefix(_PREFIX): round(line[name], 6) for name in line if name.startswith(_PREFIX)}
        if terms:
            measured.setdefault(line["stage"], []).append(terms)
    return {stage: {"before": lines[0], "after": lines[-1]} for stage, lines in measured.items()}

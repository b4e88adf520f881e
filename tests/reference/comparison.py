"""The project's side of a comparison with the reference, and how a difference is measured.

The measure is each tensor's largest error relative to the tensor's largest magnitude. Element by element it cannot
be: single elements lie as near to 0 as they happen to, below what float32 resolves of the sums they come from.
"""

import dataclasses
import re
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from safetensors.numpy import save_file

from tests.reference import cases
from tests.reference.cases import PAIRS, Arrays
from tinybert_jax import distill
from tinybert_jax.data import Batch
from tinybert_jax.distill import LossInputs
from tinybert_jax.model import BertConfig, BertForQuestionAnswering, Outputs, forward
from tinybert_jax.model.pretrained import load_pretrained
from tinybert_jax.run.presets import PRESETS
from tinybert_jax.sharding import data_mesh, shard_batch
from tinybert_jax.store.files import write_json

Mode = cases.Intermediate | cases.Prediction | cases.Relations

# LLVM's optimisations of these programs take as long as everything else here.
_QUICK_TO_COMPILE = {"xla_backend_optimization_level": 0}


def difference(ours: Arrays, theirs: Arrays) -> float:
    """The largest of the tensors' relative differences; a tensor of zeros is measured against the largest of all."""
    assert ours.keys() == theirs.keys(), ours.keys() ^ theirs.keys()
    sizes = {name: np.abs(tensor).max() for name, tensor in theirs.items()}
    largest = max(sizes.values())
    scales = {name: size if size > 1e-12 * largest else largest for name, size in sizes.items()}
    return max(float(np.abs(ours[name] - theirs[name]).max() / scales[name]) for name in theirs)


def loss_difference(ours: Arrays, theirs: Arrays) -> float:
    """The largest relative difference of a loss and its terms.

    Except that "kl" is `soft` less an entropy as large: what is left of two such numbers is measured against them.
    """
    scales = {name: abs(theirs["soft" if name == "kl" else name]) or 1.0 for name in ours}
    return max(float(abs(ours[name] - theirs[name]) / scales[name]) for name in ours)


def with_effect(tensors: Arrays, objective: distill.Objective, layers: int) -> Arrays:
    """The parameters, by the reference's names, on which the loss of a student of so many layers depends.

    A shift of all keys, of all logits, or of what the logits are linear in, moves no softmax. The exact gradient of
    such a parameter is 0 and a computed one is rounding, which Adam scales up to a full update: the path of these
    means nothing, and changes nothing else.
    """
    none = {
        "scores": r"(?!)",
        "centred-scores": r".*\.key\.bias",
        "probabilities": r".*\.key\.bias",
        "prediction": rf".*\.key\.bias|qa_outputs\.bias|bert\.encoder\.layer\.{layers - 1}\.output\.LayerNorm\.bias",
    }
    kind = objective.compare if isinstance(objective, distill.Intermediate) else "prediction"
    return {name: tensor for name, tensor in tensors.items() if not re.fullmatch(none[kind], name)}


# --- names and settings ----------------------------------------------------------------------------------------------


def our_objective(mode: Mode) -> distill.Objective:
    """The same settings, ours."""
    settings = {field.name: getattr(mode, field.name) for field in dataclasses.fields(mode)}
    if isinstance(mode, cases.Intermediate):
        settings["projection"] = distill.Projection(**dataclasses.asdict(mode.projection))
    return getattr(distill, type(mode).__name__)(**settings)


def our_preset_objective(preset: str, stage: str) -> distill.Objective:
    """Our preset's own, less the dropout that it adds to the models': the reference's runs have none."""
    objective = PRESETS[preset].objectives[stage]
    if stage == "prediction":
        objective = dataclasses.replace(objective, head_dropout=0.0)
    return dataclasses.replace(objective, teacher_dropout=False)


@cache
def our_optimizer(rule: str) -> Any:
    """Of our preset's own rule, where there is one of that name, with the reference's hyper-parameters."""
    return distill.make_optimizer(our_optimizer_config(rule), cases.RULES[rule].updates)


def our_optimizer_config(rule: str) -> distill.OptimizerConfig:
    """Likewise."""
    theirs = cases.RULES[rule]
    same = [field.name for field in dataclasses.fields(distill.UpdateRule)]
    settings = {name: getattr(theirs, name) for name in same}
    return distill.OptimizerConfig(
        theirs.peak,
        theirs.warmup,
        theirs.schedule,
        theirs.weight_decay,
        theirs.clip_norm,
        rule=PRESETS[rule].rule if rule in PRESETS else distill.UpdateRule(**settings),
    )


def our_projection(tensors: Arrays) -> dict[str, Any]:
    """The projections among the reference's tensors, as ours."""
    found = [(name.split("."), tensor) for name, tensor in tensors.items() if name.startswith("projection.")]
    return unflatten_dict({(k, "bias" if kind == "bias" else "kernel"): tensor for (_, k, kind), tensor in found})


def our_tree(tensors: Arrays) -> dict[str, Any]:
    """`{"model": …, "projection": …}` of a few named tensors."""
    model = {}
    for name, tensor in tensors.items():
        *path, kind = name.split(".")
        if kind == "weight":
            kind = "scale" if path[-1] == "LayerNorm" else "embedding" if "embeddings" in path[-1] else "kernel"
        if path[0] != "projection":
            model[(*path, kind)] = tensor.T if kind == "kernel" else tensor
    return {"model": unflatten_dict(model), "projection": our_projection(tensors)}


def by_their_names(trained: dict[str, Any]) -> Arrays:
    """`{"model": …, "projection": …}` under the reference's names, in its layout."""
    named = {}
    for path, leaf in flatten_dict(trained["model"]).items():
        kind = "bias" if path[-1] == "bias" else "weight"
        named[".".join((*path[:-1], kind))] = np.asarray(leaf).T if path[-1] == "kernel" else np.asarray(leaf)
    for (k, kind), leaf in flatten_dict(trained["projection"]).items():
        named[f"projection.{k}.{'bias' if kind == 'bias' else 'weight'}"] = np.asarray(leaf)
    return named


# --- what is compiled: once for all seeds ----------------------------------------------------------------------------


def _forward(config: BertConfig, params: Any, batch: Batch) -> Outputs:
    """All that any objective may read, so that one compiled forward serves them all."""
    model = BertForQuestionAnswering(config)
    by_heads, probabilities = (forward(model, params, batch, attention=kind) for kind in ("relations", "probabilities"))
    return by_heads._replace(probabilities=probabilities.probabilities)


def _backward(config: BertConfig, params: Any, batch: Batch, cotangents: Outputs) -> Any:
    """The parameters' gradient from the outputs'."""
    return jax.vjp(lambda params: _forward(config, params, batch), params)[1](cotangents)[0]


_outputs, _pull_back = (jax.jit(f, static_argnums=0, compiler_options=_QUICK_TO_COMPILE) for f in (_forward, _backward))


def _asked_for(outputs: Outputs, objective: distill.Objective) -> Outputs:
    """Without the kinds of attention that the objective does not ask of a forward."""
    asked = {"scores": ("queries", "keys"), "relations": ("queries", "keys", "values")}
    kept = asked.get(objective.attention, (objective.attention,))
    others = {"queries", "keys", "values", "probabilities"} - {*kept}
    return outputs._replace(**dict.fromkeys(others))


@cache
def _compiled_step(preset: str, stage: str) -> Any:
    """`step(*arguments)` of a preset's stage."""
    models = (BertForQuestionAnswering(our_config(cases.PRESETS[preset].pair, side)) for side in (0, 1))
    step = distill.make_train_step(*models, our_preset_objective(preset, stage), our_optimizer(preset))
    compiled = []

    def run(*arguments: Any) -> Any:
        if not compiled:
            compiled.append(step.lower(*arguments).compile(_QUICK_TO_COMPILE))
        return compiled[0](*arguments)

    return run


@cache
def our_config(pair: str, side: int) -> BertConfig:
    """Of the student, side 0, or the teacher."""
    return BertConfig.from_transformers(PAIRS[pair][side])


# --- what is compared ------------------------------------------------------------------------------------------------


class Ours:
    """The project run on what the reference ran on: `models` is the golden file's content or a fresh draw.

    What has been computed once is kept, as both the tests and the table ask for it.
    """

    def __init__(self, models: dict[str, Arrays]):
        self.models = models
        self.batch = Batch(**models["batch"] | {"attention_mask": models["batch"]["attention_mask"].astype(bool)})
        sides = {"student-8": ("equal", 0), "teacher-8": ("equal", 1), "teacher-12": ("wide", 1)}
        self._params = {name: self._load(models[name], *which) for name, which in sides.items()}
        self.losses_and_gradients, self.train = cache(self._losses_and_gradients), cache(self._train)

    @staticmethod
    def _load(tensors: Arrays, pair: str, side: int) -> Any:
        """By the way a user's checkpoint takes."""
        with tempfile.TemporaryDirectory() as folder:
            write_json(Path(folder) / "config.json", PAIRS[pair][side])
            save_file(tensors, Path(folder) / "model.safetensors")
            return load_pretrained(folder)[1]

    def _model(self, pair: str, side: int) -> tuple[BertConfig, Any]:
        """A config and its parameters: the first layers of what is stored."""
        config = our_config(pair, side)
        params = self._params[f"{('student', 'teacher')[side]}-{config.hidden_size}"]
        layers = {str(i): params["bert"]["encoder"]["layer"][str(i)] for i in range(config.num_hidden_layers)}
        return config, params | {"bert": params["bert"] | {"encoder": {"layer": layers}}}

    def _projection(self, pair: str, mode: Mode) -> dict[str, Any]:
        if not isinstance(mode, cases.Intermediate):
            return {}
        return our_projection(cases.projection_tensors(self.models, pair, mode))

    def _losses_and_gradients(self, pair: str, mode: Mode) -> tuple[Arrays, Arrays]:
        """What a case's record holds: the loss and its terms, and the gradients by the reference's names."""
        objective = our_objective(mode)
        (config, params), teacher = (self._model(pair, side) for side in (0, 1))
        taught = _asked_for(_outputs(*teacher, self.batch), objective)

        def loss(student: Outputs, projection: Any) -> tuple[jax.Array, dict[str, jax.Array]]:
            return objective.loss(LossInputs(_asked_for(student, objective), taught, projection, self.batch))

        grad_fn = jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)
        student = _outputs(config, params, self.batch)
        (value, terms), (cotangents, projection) = grad_fn(student, self._projection(pair, mode))
        gradients = {"model": _pull_back(config, params, self.batch, cotangents), "projection": projection}
        return jax.tree.map(np.asarray, {"loss": value} | terms), by_their_names(gradients)

    def _train(self, preset: str, stage: str, steps: int = 3) -> Arrays:
        """The student's parameters and projections after the first steps of a preset's stage."""
        theirs = cases.PRESETS[preset]
        (_, params), (_, teacher_params) = (self._model(theirs.pair, side) for side in (0, 1))
        mesh, projection = data_mesh(), self._projection(theirs.pair, getattr(theirs, stage))
        state = distill.create_state(params, projection, our_optimizer(preset), mesh)
        batch = shard_batch(self.batch, mesh)
        for _ in range(steps):
            state, _ = _compiled_step(preset, stage)(state, teacher_params, batch, jax.random.key(0))
        return by_their_names(state.params)


@cache
def ours_on_golden() -> Ours:
    """On the golden file's models."""
    return Ours(cases.load_golden("models"))


def update_ten_times(records: dict[str, Arrays], rule: str) -> Arrays:
    """The parameters of the optimiser's golden file after its ten gradients."""
    optimizer = our_optimizer(rule)
    params = jax.tree.map(jnp.asarray, our_tree(records["initial"]))
    state, update = optimizer.init(params), jax.jit(optimizer.update)
    for step in range(10):
        updates, state = update(our_tree(records[f"gradients {step}"]), state, params)
        params = jax.tree.map(jnp.add, params, updates)
    return by_their_names(params)

"""Writes the golden files that parity is tested against: `python -m tests.reference.make_golden`, with torch installed.

Run by hand, and only when `cases.py` gains a case or a published system turns out to compute something else. The
reference runs in float64 and what is stored is its rounding to float32, so that a difference is the project's own.
The same bytes come out of the same versions of torch and numpy.
"""

import numpy as np
import torch
from transformers import BertConfig, BertForQuestionAnswering

from tests.reference.cases import (
    GOLDEN,
    INTERMEDIATE,
    PAIRS,
    PREDICTION,
    PRESETS,
    RELATIONS,
    RULES,
    Arrays,
    Intermediate,
    Prediction,
    projection_tensors,
    save_golden,
)
from tests.reference.torch_reference import (
    Adam,
    Tensors,
    gradients_of,
    intermediate_loss,
    learning_rate,
    prediction_loss,
    relations_loss,
    train,
)

SEED = 20240601


def build(config: dict) -> BertForQuestionAnswering:
    """A model of transformers in float64, in training: dropout is 0, so nothing is random."""
    config = {key: value for key, value in config.items() if key != "model_type"}
    return BertForQuestionAnswering._from_config(BertConfig(**config), attn_implementation="eager").double().train()


def random_models(seed: int) -> dict[str, Arrays]:
    """Parameters under transformers' names, projections and a batch, all of it random: no leaf at a special value."""
    rng = np.random.default_rng(seed)

    def parameters(config: dict) -> Arrays:
        shapes = {name: tuple(parameter.shape) for name, parameter in build(config).named_parameters()}
        # A head this wide makes stage 2's gradients large enough for clipping to act on single tensors.
        scales = {name: 2.0 if name == "qa_outputs.weight" else 0.4 for name in shapes}
        return {
            name: (("LayerNorm.weight" in name) + scales[name] * rng.normal(size=shape)).astype(np.float32)
            for name, shape in shapes.items()
        }

    def projections(width: int) -> Arrays:
        shapes = {"weight": (8, width), "bias": (width,)}
        return {
            f"projection.{k}.{name}": (0.4 * rng.normal(size=shape)).astype(np.float32)
            for k in range(3)
            for name, shape in shapes.items()
        }

    real = np.arange(8) < np.array([8, 5, 3])[:, None]
    return {
        "student-8": parameters(PAIRS["equal"][0]),
        "teacher-8": parameters(PAIRS["equal"][1]),
        "teacher-12": parameters(PAIRS["wide"][1]),
        "projection-8": projections(8),
        "projection-12": projections(12),
        "batch": {
            "input_ids": np.where(real, rng.integers(1, 40, real.shape), 0).astype(np.int32),
            "token_type_ids": (real & (np.arange(8) > 1)).astype(np.int32),
            "attention_mask": real.astype(np.int32),
            "start": np.array([2, 0, 1], np.int32),
            "end": np.array([4, 0, 2], np.int32),
        },
    }


class Setting:
    """A pair of models, a batch and projections as torch has them; `parameters` is what trains, by name."""

    def __init__(self, models: dict[str, Arrays], pair: str, mode: object):
        self.mode = mode
        self.student, self.teacher = (
            self._load(config, models[f"{side}-{config['hidden_size']}"])
            for side, config in zip(("student", "teacher"), PAIRS[pair], strict=True)
        )
        self.batch = {name: torch.tensor(array).long() for name, array in models["batch"].items()}
        initial = projection_tensors(models, pair, mode) if isinstance(mode, Intermediate) else {}
        self.projections = {name: torch.tensor(a).double().requires_grad_() for name, a in initial.items()}
        self.parameters: Tensors = dict(self.student.named_parameters()) | self.projections

    @staticmethod
    def _load(config: dict, arrays: Arrays) -> BertForQuestionAnswering:
        model = build(config)
        model.load_state_dict({name: torch.tensor(arrays[name]) for name in model.state_dict()})
        return model

    def losses(self) -> Tensors:
        if isinstance(self.mode, Intermediate):
            return intermediate_loss(self.student, self.teacher, self.batch, self.projections, self.mode)
        loss = prediction_loss if isinstance(self.mode, Prediction) else relations_loss
        return loss(self.student, self.teacher, self.batch, self.mode)


def as_numpy(tensors: Tensors) -> Arrays:
    return {name: tensor.detach().numpy() for name, tensor in tensors.items()}


def loss_records(models: dict[str, Arrays], cases: dict) -> dict[str, Arrays]:
    """Every case's loss and terms, and the gradient of every parameter: 0 where the loss does not read it."""
    records = {}
    for name, (pair, mode) in cases.items():
        setting = Setting(models, pair, mode)
        losses = setting.losses()
        zeros = {key: torch.zeros_like(parameter) for key, parameter in setting.parameters.items()}
        records[name] = as_numpy(losses | zeros | gradients_of(losses["loss"], setting.parameters))
    return records


def training_records(models: dict[str, Arrays]) -> dict[str, Arrays]:
    """Every preset's parameters after the first three updates of both stages, each from the initial parameters."""
    records = {}
    for name, preset in PRESETS.items():
        for stage in ("intermediate", "prediction"):
            setting = Setting(models, preset.pair, getattr(preset, stage))
            train(setting.parameters, lambda setting=setting: setting.losses()["loss"], preset.rule)
            records[f"{name} {stage}"] = as_numpy(setting.parameters)
    return records


def optimizer_records(seed: int) -> dict[str, Arrays]:
    """Ten updates of every preset's rule on given gradients: a whole schedule, free of a model's noise."""
    rng = np.random.default_rng(seed)
    shapes = {
        "bert.embeddings.word_embeddings.weight": (5, 3),
        "bert.embeddings.LayerNorm.weight": (3,),
        "bert.embeddings.LayerNorm.bias": (3,),
        "qa_outputs.weight": (2, 3),
        "qa_outputs.bias": (2,),
        "projection.0.weight": (3, 4),
        "projection.0.bias": (4,),
    }

    def draw(scale: float) -> Arrays:
        return {name: (scale * rng.normal(size=shape)).astype(np.float32) for name, shape in shapes.items()}

    # Steps whose norms lie on either side of 1, of a tensor and of all together.
    gradients = [draw(scale) for scale in (0.5, 0.15, 1.5, 0.01, 0.5, 0.05, 5.0, 0.25, 0.5, 0.1)]
    records = {"initial": draw(1.0)} | {f"gradients {step}": gradient for step, gradient in enumerate(gradients)}
    for name, rule in RULES.items():
        parameters = {key: torch.tensor(array).double() for key, array in records["initial"].items()}
        adam = Adam(rule)
        for gradient in gradients:
            adam.update(parameters, {key: torch.tensor(array).double() for key, array in gradient.items()})
        rates = np.array([learning_rate(rule, step) for step in range(rule.updates)])
        records[name] = {"rates": rates} | as_numpy(parameters)
    return records


def all_records(seed: int) -> dict[str, dict[str, Arrays]]:
    """The content of every golden file."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # on matrices this small, threads wait for one another: 30 s instead of 2
    try:
        models = random_models(seed)
        return {
            "models": models,
            "intermediate": loss_records(models, INTERMEDIATE),
            "prediction": loss_records(models, PREDICTION),
            "relations": loss_records(models, RELATIONS),
            "training": training_records(models),
            "optimizer": optimizer_records(seed),
        }
    finally:
        torch.set_num_threads(threads)


if __name__ == "__main__":
    for file, records in all_records(SEED).items():
        save_golden(file, records)
        print(f"{file}.npz: {len(records)} records, {(GOLDEN / f'{file}.npz').stat().st_size / 1e3:.0f} kB")

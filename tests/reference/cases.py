"""What is compared with PyTorch: the settings of every case, in plain Python, and the golden files' layout.

Nothing here imports torch or `tinybert_jax`: the reference and the project read the same settings, each in its own way.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

GOLDEN = Path(__file__).parent / "golden"

Padding = Literal["masked", "counted"]
LayerMap = Literal["uniform", "last"] | tuple[int, ...]


@dataclass(frozen=True)
class Projection:
    """Which matrices take the student's states to the teacher's width."""

    kind: Literal["none", "shared", "embeddings-layers", "per-state"] = "per-state"
    bias: bool = False
    always: bool = False


@dataclass(frozen=True)
class Intermediate:
    """Stage 1's settings."""

    compare: Literal["scores", "centred-scores", "probabilities"] = "scores"
    padding: Padding = "masked"
    hidden_map: LayerMap = "uniform"
    attention_map: LayerMap = "uniform"
    heads: Literal["equal", "groups", "drop"] = "equal"
    embeddings: bool = True
    hidden_weight: float = 1.0
    attention_weight: float = 1.0
    projection: Projection = Projection()


@dataclass(frozen=True)
class Prediction:
    """Stage 2's settings."""

    temperature: float = 1.0
    soft_weight: float = 1.0
    padding: Padding = "masked"
    scale_by_temperature: bool = True
    null_weight: float = 0.0


@dataclass(frozen=True)
class Relations:
    """The settings of relations; layers from 1."""

    heads: int
    student_layer: int
    teacher_layer: int


@dataclass(frozen=True)
class UpdateRule:
    """The optimiser's settings; `updates` of them in all, the rate rising over the first `warmup` of those."""

    bias_correction: bool = True
    eps: float = 1e-8
    decay: Literal["all", "matrices", "kernels"] = "kernels"
    clip: Literal["global", "tensor"] = "global"
    fractional_warmup: bool = False
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    weight_decay: float = 0.01
    clip_norm: float = 1.0
    peak: float = 5e-3
    updates: int = 10
    warmup: float = 0.3


@dataclass(frozen=True)
class Preset:
    """What one published system does in both stages."""

    pair: str
    intermediate: Intermediate
    prediction: Prediction
    rule: UpdateRule


_COMMON = {
    "model_type": "bert",
    "vocab_size": 40,
    "max_position_embeddings": 8,
    "type_vocab_size": 2,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-12,
    "pad_token_id": 0,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
}


def _config(layers: int, width: int, heads: int) -> dict:
    sizes = {"hidden_size": width, "num_hidden_layers": layers, "num_attention_heads": heads, "intermediate_size": 6}
    return _COMMON | sizes


# Pairs of the same student's parameters, 2 layers 8 wide, and one of two teachers', 4 layers 8 or 12 wide: the number
# of heads is no part of a parameter's shape. The short pairs, for training, are the first layers of the same.
PAIRS = {
    "equal": (_config(2, 8, 2), _config(4, 8, 2)),
    "wide": (_config(2, 8, 2), _config(4, 12, 2)),
    "teacher-heads": (_config(2, 8, 2), _config(4, 8, 4)),
    "wide-heads": (_config(2, 8, 2), _config(4, 12, 3)),
    "student-heads": (_config(2, 8, 4), _config(4, 8, 2)),
    "equal-short": (_config(1, 8, 2), _config(2, 8, 2)),
    "wide-short": (_config(1, 8, 2), _config(2, 12, 2)),
}

_PER_STATE = Projection("per-state")
_SHARED_BIASED = Projection("shared", bias=True, always=True)
_PAPER = Projection("embeddings-layers", always=True)

# name: (pair, settings). Every value of every setting occurs, and paddings, attentions and widths vary between cases.
INTERMEDIATE = {
    "scores masked": ("equal", Intermediate()),
    "scores counted": ("equal", Intermediate(padding="counted")),
    "centred masked": ("equal", Intermediate("centred-scores")),
    "centred counted": ("wide", Intermediate("centred-scores", "counted")),
    "probabilities masked": ("equal", Intermediate("probabilities")),
    "probabilities counted": ("equal", Intermediate("probabilities", "counted")),
    "maps last": ("equal", Intermediate(hidden_map="last", attention_map="last")),
    "maps uniform, last": ("equal", Intermediate("probabilities", "counted", attention_map="last")),
    "maps explicit": ("equal", Intermediate(hidden_map=(3, 1), attention_map=(2, 4))),
    "no embeddings": ("equal", Intermediate("probabilities", embeddings=False)),
    "no embeddings, wide": ("wide", Intermediate(embeddings=False, projection=_PAPER)),
    "weights": ("equal", Intermediate("probabilities", heads="drop", hidden_weight=0.25, attention_weight=30.0)),
    "heads dropped": ("teacher-heads", Intermediate(heads="drop")),
    "heads dropped, wide": ("wide-heads", Intermediate("probabilities", "counted", heads="drop")),
    "wide per-state": ("wide", Intermediate(projection=_PER_STATE)),
    "wide per-state biased": ("wide", Intermediate("probabilities", projection=Projection("per-state", bias=True))),
    "wide shared": ("wide", Intermediate(projection=Projection("shared"))),
    "wide shared biased": ("wide", Intermediate(padding="counted", projection=_SHARED_BIASED)),
    "wide embeddings-layers": ("wide", Intermediate("probabilities", "counted", projection=_PAPER)),
    "wide maps": ("wide", Intermediate(hidden_map=(1, 3), attention_map="last", projection=Projection("per-state"))),
    "shared always": ("equal", Intermediate(padding="counted", projection=_SHARED_BIASED)),
    "embeddings-layers always": ("equal", Intermediate(projection=_PAPER)),
    "per-state always": ("equal", Intermediate(projection=Projection("per-state", bias=True, always=True))),
    "teacher heads grouped, scores": ("teacher-heads", Intermediate(heads="groups")),
    "teacher heads grouped, probabilities": (
        "teacher-heads",
        Intermediate("probabilities", "counted", heads="groups"),
    ),
    "teacher heads grouped, centred": ("teacher-heads", Intermediate("centred-scores", heads="groups")),
    "student heads grouped, scores": ("student-heads", Intermediate(padding="counted", heads="groups")),
    "student heads grouped, probabilities": ("student-heads", Intermediate("probabilities", heads="groups")),
}

PREDICTION = {
    f"T={temperature} w={weight} {padding}": ("equal", Prediction(temperature, weight, padding))
    for padding in ("masked", "counted")
    for temperature in (1.0, 2.0, 5.0)
    for weight in (0.0, 0.5, 1.0)
} | {
    "T=2.0 w=0.5 without T²": ("equal", Prediction(2.0, 0.5, scale_by_temperature=False)),
    "null score masked": ("equal", Prediction(2.0, 0.5, null_weight=0.25)),
    "null score and labels, counted": ("equal", Prediction(soft_weight=0.0, padding="counted", null_weight=4.0)),
}

RELATIONS = {
    "last layers": ("equal", Relations(2, 2, 4)),
    "wide": ("wide", Relations(4, 2, 3)),
    "wide, unlike heads": ("wide-heads", Relations(1, 1, 4)),
}

PRESETS = {
    "haystack": Preset(
        "wide-short",
        Intermediate("probabilities", "counted", projection=_PER_STATE),
        Prediction(padding="counted"),
        UpdateRule(decay="all"),
    ),
    "huawei": Preset(
        "equal-short",
        Intermediate(padding="counted", projection=_SHARED_BIASED),
        Prediction(padding="counted", scale_by_temperature=False),
        UpdateRule(bias_correction=False, eps=1e-6, decay="matrices", clip="tensor", fractional_warmup=True),
    ),
    "paper": Preset("equal-short", Intermediate(projection=_PAPER), Prediction(), UpdateRule(decay="matrices")),
    "recommended": Preset(
        "wide-short", Intermediate(projection=_PER_STATE, attention_weight=0.01), Prediction(), UpdateRule()
    ),
}

RULES = {name: preset.rule for name, preset in PRESETS.items()} | {
    "warm-up of 2.5 updates": UpdateRule(warmup=0.25, fractional_warmup=True),
    "warm-up cut to 2 updates": UpdateRule(warmup=0.25),
    "cosine": UpdateRule(schedule="cosine"),
    "constant": UpdateRule(schedule="constant", warmup=0.0),
}


def layer_map(chosen: LayerMap, student_layers: int, teacher_layers: int) -> tuple[int, ...]:
    """The teacher's layer, from 1, for each of the student's."""
    if chosen == "uniform":
        return tuple(m * teacher_layers // student_layers for m in range(1, student_layers + 1))
    if chosen == "last":
        return tuple(range(teacher_layers - student_layers + 1, teacher_layers + 1))
    return chosen


def projection_index(projection: Projection, state: int) -> int:
    """Which matrix hidden state `state` goes through, 0 being the embeddings'."""
    return {"shared": 0, "embeddings-layers": min(state, 1), "per-state": state}[projection.kind]


def projection_indices(mode: Intermediate, student: dict, teacher: dict) -> list[int]:
    """The matrices that a pair of configs needs."""
    equal = student["hidden_size"] == teacher["hidden_size"]
    if mode.projection.kind == "none" or (equal and not mode.projection.always):
        return []
    states = range(0 if mode.embeddings else 1, student["num_hidden_layers"] + 1)
    return sorted({projection_index(mode.projection, state) for state in states})


# --- layout: one record holds all of a case's tensors --------------------------------------------------------------

Arrays = dict[str, np.ndarray]


def pack(tensors: Arrays) -> np.ndarray:
    """All tensors as one record, a field each: thousands of small arrays would make the files several times larger."""

    def kind(x: np.ndarray) -> type:
        if np.issubdtype(x.dtype, np.integer):
            return np.int32
        return np.float32 if x.ndim else np.float64  # the losses

    record = np.zeros((), [(name, kind(x), x.shape) for name, x in tensors.items()])
    for name, tensor in tensors.items():
        record[name] = tensor
    return record


def unpack(record: np.ndarray) -> Arrays:
    """The inverse of `pack`."""
    return {name: record[name] for name in record.dtype.names}


def projection_tensors(models: dict[str, Arrays], pair: str, mode: Intermediate) -> Arrays:
    """The initial projections of a case, `projection.K.weight` (D_s, D_t) and `projection.K.bias` (D_t,)."""
    source = models[f"projection-{PAIRS[pair][1]['hidden_size']}"]
    kinds = ("weight", "bias") if mode.projection.bias else ("weight",)
    names = [f"projection.{k}.{kind}" for k in projection_indices(mode, *PAIRS[pair]) for kind in kinds]
    return {name: source[name] for name in names}


def save_golden(file: str, records: dict[str, Arrays]) -> None:
    """Writes one golden file; no pickles."""
    GOLDEN.mkdir(exist_ok=True)
    packed = {name: pack(tensors) for name, tensors in records.items()}
    np.savez_compressed(GOLDEN / f"{file}.npz", allow_pickle=False, **packed)


def load_golden(file: str) -> dict[str, Arrays]:
    """A golden file's tensors by record and name."""
    with np.load(GOLDEN / f"{file}.npz", allow_pickle=False) as stored:
        return {name: unpack(stored[name]) for name in stored.files}

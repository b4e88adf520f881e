"""Distillation in plain PyTorch: what the published systems compute, written from their formulas.

It shares nothing with `tinybert_jax`, runs transformers' own BERT, and writes out what a library would hide: the
losses, Adam, the schedule. Read it beside `tinybert_jax.distill`; `cases.py` says what each setting means.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy, log_softmax, softmax
from transformers import BertForQuestionAnswering

from tests.reference.cases import Intermediate, Prediction, Relations, UpdateRule, layer_map, projection_index

Batch = dict[str, Tensor]  # input_ids, token_type_ids, attention_mask (B, T); start, end (B,)
Tensors = dict[str, Tensor]


@dataclass
class Observed:
    """What a forward shows: states and attention by layer."""

    caught: dict[str, list[Tensor]]  # "query", "key", "value": L of (B, T, D)
    hidden_states: tuple[Tensor, ...]  # L + 1 of (B, T, D)
    scores: list[Tensor]  # L of (B, N, T, T), before softmax, mask and dropout
    probabilities: tuple[Tensor, ...]  # L of (B, N, T, T), after dropout where it acts
    start_logits: Tensor  # (B, T)
    end_logits: Tensor


def observe(model: BertForQuestionAnswering, batch: Batch) -> Observed:
    """Runs a model of eager attention; queries, keys and values are caught where their Linear layers return them."""
    caught: dict[str, list[Tensor]] = {"query": [], "key": [], "value": []}
    hooks = [
        getattr(layer.attention.self, name).register_forward_hook(lambda _module, _in, out, to=to: to.append(out))
        for layer in model.bert.encoder.layer
        for name, to in caught.items()
    ]
    inputs = {name: batch[name] for name in ("input_ids", "token_type_ids", "attention_mask")}
    outputs = model(**inputs, output_hidden_states=True, output_attentions=True)
    for hook in hooks:
        hook.remove()

    def by_head(x: Tensor) -> Tensor:  # (B, T, D) → (B, N, T, H)
        return x.unflatten(-1, (model.config.num_attention_heads, -1)).transpose(1, 2)

    scores = [
        by_head(q) @ by_head(k).transpose(-1, -2) / by_head(q).shape[-1] ** 0.5
        for q, k in zip(caught["query"], caught["key"], strict=True)
    ]
    shown = (outputs.hidden_states, scores, outputs.attentions, outputs.start_logits, outputs.end_logits)
    return Observed(caught, *shown)


# --- stage 1 -------------------------------------------------------------------------------------------------------


def project(state: Tensor, m: int, projections: Tensors, mode: Intermediate) -> Tensor:
    """H^S_m W (+ b) with the matrix of state m; the state itself where the mode has no matrices."""
    if not projections:
        return state
    k = projection_index(mode.projection, m)
    projected = state @ projections[f"projection.{k}.weight"]
    return projected + projections[f"projection.{k}.bias"] if mode.projection.bias else projected


def hidden_mse(student: Tensor, teacher: Tensor, mask: Tensor, mode: Intermediate) -> Tensor:
    """Mean over positions and width."""
    squares = (student - teacher) ** 2
    return squares[mask].mean() if mode.padding == "masked" else squares.mean()


def attention_mse(student: Tensor, teacher: Tensor, mask: Tensor, mode: Intermediate) -> Tensor:
    """Mean over heads and query-key pairs; (B, N, T, T) each, heads grouped where one side has more."""
    heads = min(student.shape[1], teacher.shape[1])
    student, teacher = (x.unflatten(1, (heads, -1)).mean(2) for x in (student, teacher))
    squares = (student - teacher) ** 2
    if mode.padding == "masked":
        pairs = mask[:, :, None] & mask[:, None, :]
        return squares.transpose(0, 1)[:, pairs].mean()
    if mode.compare != "probabilities":  # they are 0 there already
        squares = squares.masked_fill(~mask[:, None, None, :], 0)
    return squares.mean()


def compared(observed: Observed, mask: Tensor, mode: Intermediate) -> Sequence[Tensor]:
    """What is compared of the attention, by layer."""
    if mode.compare == "probabilities":
        return observed.probabilities
    if mode.compare == "scores":
        return observed.scores
    real = mask[:, None, None, :]
    return [s - (s * real).sum(-1, keepdim=True) / real.sum(-1, keepdim=True) for s in observed.scores]


def intermediate_loss(
    student_model: BertForQuestionAnswering,
    teacher_model: BertForQuestionAnswering,
    batch: Batch,
    projections: Tensors,
    mode: Intermediate,
) -> Tensors:
    """Stage 1's loss and its two terms, unweighted: `loss`, `hidden`, `attention`."""
    student = observe(student_model, batch)
    with torch.no_grad():
        teacher = observe(teacher_model, batch)
    mask = batch["attention_mask"].bool()
    layers = student_model.config.num_hidden_layers, teacher_model.config.num_hidden_layers

    states = [(0, 0)] if mode.embeddings else []
    states += enumerate(layer_map(mode.hidden_map, *layers), start=1)
    hidden = sum(
        hidden_mse(project(student.hidden_states[m], m, projections, mode), teacher.hidden_states[g], mask, mode)
        for m, g in states
    )
    attention = torch.zeros_like(hidden)
    unlike = student_model.config.num_attention_heads != teacher_model.config.num_attention_heads
    if not (unlike and mode.heads == "drop"):
        ours, theirs = (compared(observed, mask, mode) for observed in (student, teacher))
        pairs = enumerate(layer_map(mode.attention_map, *layers), start=1)
        attention = sum(attention_mse(ours[m - 1], theirs[g - 1], mask, mode) for m, g in pairs)
    loss = mode.hidden_weight * hidden + mode.attention_weight * attention
    return {"loss": loss, "hidden": hidden, "attention": attention}


def relations_loss(
    student_model: BertForQuestionAnswering, teacher_model: BertForQuestionAnswering, batch: Batch, mode: Relations
) -> Tensors:
    """MiniLMv2's loss and its three terms: `loss`, `queries`, `keys`, `values`."""
    student = observe(student_model, batch)
    with torch.no_grad():
        teacher = observe(teacher_model, batch)
    mask = batch["attention_mask"].bool()

    def log_relations(x: Tensor) -> Tensor:  # (B, T, D) → (B, A, T, T)
        x = x.unflatten(-1, (mode.heads, -1)).transpose(1, 2)
        scores = x @ x.transpose(-1, -2) / x.shape[-1] ** 0.5
        return log_softmax(scores.masked_fill(~mask[:, None, None, :], -1e9), -1)

    terms = {}
    for name, part in {"queries": "query", "keys": "key", "values": "value"}.items():
        log_s = log_relations(student.caught[part][mode.student_layer - 1])
        log_t = log_relations(teacher.caught[part][mode.teacher_layer - 1])
        by_row = (log_t.exp() * (log_t - log_s)).sum(-1)  # (B, A, T)
        terms[name] = by_row.transpose(0, 1)[:, mask].mean()
    return {"loss": sum(terms.values()), **terms}


# --- stage 2 -------------------------------------------------------------------------------------------------------


def prediction_loss(
    student_model: BertForQuestionAnswering,
    teacher_model: BertForQuestionAnswering,
    batch: Batch,
    mode: Prediction,
) -> Tensors:
    """Stage 2's loss and its parts: `loss`, `soft`, `kl` (what haystack has in place of `soft`), `hard`, `null`."""
    student = observe(student_model, batch)
    with torch.no_grad():
        teacher = observe(teacher_model, batch)
    mask = batch["attention_mask"].bool()
    soft, kl, hard, at_cls = [], [], [], []
    for name in ("start", "end"):
        z_s, z_t = getattr(student, f"{name}_logits"), getattr(teacher, f"{name}_logits")
        if mode.padding == "masked":  # finite, so that 0 · log 0 stays 0
            z_s, z_t = (z.masked_fill(~mask, -1e9) for z in (z_s, z_t))
        p_t, log_p_t = (f(z_t / mode.temperature, -1) for f in (softmax, log_softmax))
        cross_entropy = -(p_t * log_softmax(z_s / mode.temperature, -1)).sum(-1).mean()
        soft.append(cross_entropy)
        kl.append(cross_entropy + (p_t * log_p_t).sum(-1).mean())
        at_cls.append([softmax(z, -1)[:, 0] for z in (z_s, z_t)])
        hard.append(-log_softmax(z_s, -1).gather(1, batch[name][:, None]).mean())
    parts = {"soft": sum(soft), "kl": sum(kl), "hard": sum(hard) / 2}
    w, scale = mode.soft_weight, mode.temperature**2 if mode.scale_by_temperature else 1.0
    loss = w * scale * parts["soft"] + (1 - w) * parts["hard"]
    if mode.null_weight:
        null_s, null_t = (start * end for start, end in zip(*at_cls, strict=True))
        parts["null"] = binary_cross_entropy(null_s, null_t)
        loss = loss + mode.null_weight * parts["null"]
    return {"loss": loss, **parts}


# --- the optimiser -------------------------------------------------------------------------------------------------


def learning_rate(rule: UpdateRule, step: int) -> float:
    """The rate of update `step`, from 0."""
    rising = rule.warmup * rule.updates
    if not rule.fractional_warmup:
        rising = int(rising)
    if step < rising:
        return rule.peak * step / rising
    done = (step - rising) / (rule.updates - rising)
    left = {"linear": 1 - done, "cosine": (1 + math.cos(math.pi * done)) / 2, "constant": 1.0}
    return rule.peak * left[rule.schedule]


def clip(rule: UpdateRule, gradients: Tensors) -> Tensors:
    """Scaled down to norm `clip_norm`, all together or each tensor by itself."""

    def scale(tensors: Iterable[Tensor]) -> float:
        norm = sum((g**2).sum().item() for g in tensors) ** 0.5
        return min(1.0, rule.clip_norm / max(norm, 1e-30))

    if rule.clip == "global":
        factor = scale(gradients.values())
        return {name: g * factor for name, g in gradients.items()}
    return {name: g * scale([g]) for name, g in gradients.items()}


def decays(rule: UpdateRule, name: str) -> bool:
    """Whether a parameter, by transformers' name, decays."""
    matrix = name.endswith(".weight") and "LayerNorm" not in name
    return {"all": True, "matrices": matrix, "kernels": matrix and "_embeddings." not in name}[rule.decay]


class Adam:
    """AdamW (Loshchilov and Hutter 2019), or BERT's Adam, which does not correct the moments' bias."""

    def __init__(self, rule: UpdateRule):
        self.rule, self.step = rule, 0
        self.first: Tensors = {}
        self.second: Tensors = {}

    @torch.no_grad()
    def update(self, parameters: Tensors, gradients: Tensors) -> None:
        """One update, in place, of the parameters that have a gradient; the others do not decay either."""
        rule, rate = self.rule, learning_rate(self.rule, self.step)
        self.step += 1
        for name, g in clip(rule, gradients).items():
            m = self.first[name] = 0.9 * self.first.get(name, 0.0) + 0.1 * g
            v = self.second[name] = 0.999 * self.second.get(name, 0.0) + 0.001 * g**2
            if rule.bias_correction:
                m, v = m / (1 - 0.9**self.step), v / (1 - 0.999**self.step)
            p = parameters[name]
            change = m / (v.sqrt() + rule.eps)
            if decays(rule, name):
                change = change + rule.weight_decay * p
            p -= rate * change


def gradients_of(loss: Tensor, parameters: Tensors) -> Tensors:
    """By autograd, of what the loss reads: of the rest torch has None, which is not 0, and its optimisers skip it."""
    found = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True)
    return {name: gradient for name, gradient in zip(parameters, found, strict=True) if gradient is not None}


def train(parameters: Tensors, loss: Callable[[], Tensor], rule: UpdateRule, steps: int = 3) -> None:
    """The first steps of a stage, in place, on the same batch each time: `loss` reads `parameters` again."""
    optimizer = Adam(rule)
    for _ in range(steps):
        optimizer.update(parameters, gradients_of(loss(), parameters))

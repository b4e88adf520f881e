"""The contestants of PyTorch, written for this comparison alone: see A, B and C in step.py.

A and B compute what haystack's trainer did, C what the project's recommended preset does, as fast as plain PyTorch
will. Left out of C, as none would change the picture: one matrix for queries, keys and values, attention over
unpadded tokens, CUDA graphs.
"""

import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from common import DROPOUT, Device, Job, Shape
from peers_bert import Attention, Bert, Seen
from torch import Tensor, nn

from tinybert_jax.data import Batch

Tensors = dict[str, Tensor]

ATTENTION_WEIGHT = 0.01  # of the recommended preset
UPDATES, WARMUP, PEAK = 100_000, 0.2, 5e-5


def learning_rate_factor(update: int) -> float:
    """Linear warm-up from 0, linear decay to 0."""
    rising = int(WARMUP * UPDATES)
    return update / rising if update < rising else (UPDATES - update) / (UPDATES - rising)


# --- what is compared ------------------------------------------------------------------------------------------------


def haystack_intermediate(student: Seen, teacher: Seen, shape: Shape) -> Tensor:
    """Plain means over hidden states and attention probabilities of mapped layers, padding and all."""
    layers = [(m, shape.mapped_layer(m)) for m in range(shape.layers_student + 1)]
    hidden = sum(F.mse_loss(student.hidden_states[m], teacher.hidden_states[g]) for m, g in layers)
    attention = sum(F.mse_loss(student.attention[m], teacher.attention[g]) for m, g in layers[1:])
    return torch.as_tensor(hidden + attention)


def haystack_prediction(student: Tensor, teacher: Tensor, start: Tensor, end: Tensor) -> Tensor:
    """KL of start and end distributions over all positions, and the labels' cross-entropy at weight 0."""
    kl = [F.kl_div(student[..., i].log_softmax(-1), teacher[..., i].softmax(-1), reduction="batchmean") for i in (0, 1)]
    hard = F.cross_entropy(student[..., 0], start) + F.cross_entropy(student[..., 1], end)
    return kl[0] + kl[1] + 0.0 * hard / 2


class GramProduct(torch.autograd.Function):
    """⟨AᵀA, BᵀB⟩ = Σ (A·Bᵀ)², summed over windows and heads, without A·Bᵀ.

    Its gradients are 2·A·(BᵀB) and 2·B·(AᵀA): one product each, where differentiating AᵀA itself takes two.
    """

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor) -> Tensor:
        gram_a, gram_b = a.mT @ a, b.mT @ b
        ctx.save_for_backward(a, b, gram_a, gram_b)
        return (gram_a * gram_b).sum()

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, Tensor]:
        a, b, gram_a, gram_b = ctx.saved_tensors
        return 2 * grad_outputs[0] * (a @ gram_b), 2 * grad_outputs[0] * (b @ gram_a)


def score_mse(student: tuple[Tensor, Tensor], teacher: tuple[Tensor, Tensor], mask: Tensor) -> Tensor:
    """Mean squared error of pre-softmax scores over pairs of real tokens; (B, N, T, H) queries and keys, float32."""
    real = mask[:, None, :, None]
    q_s, k_s, q_t, k_t = (x.float() * real for x in (*student, *teacher))
    a, b = torch.cat([q_s - q_t, q_t], -1), torch.cat([k_s, k_s - k_t], -1)
    pairs = q_s.shape[1] * (mask.sum(-1).float() ** 2).sum()
    return GramProduct.apply(a, b) / (q_s.shape[-1] * pairs)  # pyright: ignore[reportOperatorIssue]


def recommended_intermediate(student: Seen, teacher: Seen, mask: Tensor, shape: Shape) -> Tensor:
    """Means over real tokens of hidden states, and over pairs of them of attention scores."""
    hidden = attention = torch.zeros((), device=mask.device)
    for m in range(shape.layers_student + 1):
        g = shape.mapped_layer(m)
        squares = (student.hidden_states[m].float() - teacher.hidden_states[g].float()).square().mean(-1)
        hidden = hidden + (squares * mask).sum() / mask.sum()
        if m:
            attention = attention + score_mse(student.attention[m], teacher.attention[g], mask)
    return hidden + ATTENTION_WEIGHT * attention


def recommended_prediction(student: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
    """Cross-entropy of start and end distributions over real tokens."""
    padding = ~mask[..., None]
    log_student = student.masked_fill(padding, -1e9).log_softmax(1)
    return -(teacher.masked_fill(padding, -1e9).softmax(1) * log_student).sum((1, 2)).mean()


# --- the trainers ----------------------------------------------------------------------------------------------------


class Peer(ABC):
    """A `common.Runner`: the two networks, the optimiser, an update."""

    attention: Attention

    def __init__(self, shape: Shape, job: Job, device: Device, dtype: torch.dtype, dropout: float = DROPOUT):
        """Sets up the networks at random."""
        self.device = torch.device("cuda" if device == "gpu" else "cpu")
        settings: Any = {"dtype": dtype, "attention": self.attention, "dropout": dropout}
        self.teacher = Bert(shape, shape.layers_teacher, **settings).to(self.device).eval().requires_grad_(False)
        self.student = Bert(shape, shape.layers_student, **settings).to(self.device).train()
        self.shape, self.job, self.dropout = shape, job, dropout
        self.optimizer = self.make_optimizer()
        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimizer, learning_rate_factor)
        self.last: Tensor | None = None
        self.facts: dict[str, Any] = {}

    @abstractmethod
    def make_optimizer(self) -> torch.optim.Optimizer: ...

    @abstractmethod
    def loss(self, batch: Tensors) -> Tensor: ...

    @abstractmethod
    def step(self, batch: Tensors) -> None: ...

    def prepare(self, batch: Batch) -> Tensors:
        arrays = {name: array for name, array in batch._asdict().items() if array is not None}
        if not self.job.cached:
            arrays.pop("teacher_logits", None)
        tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
        tensors = {name: x.long() if x.dtype == torch.int32 else x for name, x in tensors.items()}
        pin = self.device.type == "cuda"
        return {name: x.pin_memory() if pin else x for name, x in tensors.items()}

    def taught(self, batch: Tensors) -> Tensor:
        """Stage 2's teacher's logits."""
        if self.job.cached:
            return batch["teacher_logits"]
        with torch.no_grad():
            return self.teacher(batch).logits

    def backward(self, loss: Tensor) -> Tensor:
        """Clipped gradients in place; returns their norm."""
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        return nn.utils.clip_grad_norm_(self.student.parameters(), 1.0)

    def finish(self) -> float:
        assert self.last is not None
        loss = self.last.item()
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        return loss

    def device_memory(self) -> int | None:
        return torch.cuda.max_memory_allocated() if self.device.type == "cuda" else None


class Haystack(Peer):
    """A, and B where `autocast` is given: eager attention, everything kept, a sync every step."""

    attention: Attention = "eager"

    def __init__(self, shape: Shape, job: Job, device: Device, *, autocast: bool = False, dropout: float = DROPOUT):
        super().__init__(shape, job, device, torch.float32, dropout)
        half = torch.float16 if self.device.type == "cuda" else torch.bfloat16
        self.autocast = torch.autocast(self.device.type, half, enabled=autocast)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=autocast and self.device.type == "cuda")
        if autocast:
            self.facts["note"] = f"autocast to {half}" + (", GradScaler" if self.scaler.is_enabled() else "")

    def make_optimizer(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.student.parameters(), PEAK, weight_decay=0.01)

    def loss(self, batch: Tensors) -> Tensor:
        if self.job.stage == 1:
            with torch.no_grad():
                teacher = self.teacher(batch, range(self.shape.layers_teacher + 1))
            return haystack_intermediate(self.student(batch, range(self.shape.layers_student + 1)), teacher, self.shape)
        teacher, student = self.taught(batch), self.student(batch, head_dropout=self.dropout).logits
        return haystack_prediction(student, teacher, batch["start"], batch["end"])

    def step(self, batch: Tensors) -> None:
        batch = {name: x.to(self.device) for name, x in batch.items()}
        self.optimizer.zero_grad()
        with self.autocast:
            loss = self.loss(batch)
        self.scaler.scale(loss).backward()
        self.scaler.unscale_(self.optimizer)
        nn.utils.clip_grad_norm_(self.student.parameters(), 1.0)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.schedule.step()
        self.last = loss.detach()
        loss.item()


class Tuned(Peer):
    """C: float32 masters, fused attention, Gram loss, fused AdamW, no sync; bfloat16 and compiled where it pays."""

    attention: Attention = "sdpa"

    def __init__(
        self,
        shape: Shape,
        job: Job,
        device: Device,
        *,
        compile: bool = False,
        half: bool = True,
        dropout: float = DROPOUT,
    ):
        dtype = torch.bfloat16 if half else torch.float32
        super().__init__(shape, job, device, dtype, dropout)
        self.teacher.bert.to(dtype)  # nothing updates the teacher: it needs no float32 masters
        compiling = "on" if compile else "off" if device == "gpu" else "off, as on a CPU it takes minutes"
        self.facts["note"] = f"{dtype} compute over float32 masters; torch.compile {compiling}"
        self.loss_of: Callable[[Tensors], Tensor] = self.loss
        if compile:
            self.loss_of = torch.compile(self.loss, dynamic=False)

    def make_optimizer(self) -> torch.optim.Optimizer:
        kernels, rest = [], []
        for name, parameter in self.student.named_parameters():
            decays = name.endswith(".weight") and "LayerNorm" not in name and "_embeddings" not in name
            (kernels if decays else rest).append(parameter)
        groups = [{"params": kernels}, {"params": rest, "weight_decay": 0.0}]
        return torch.optim.AdamW(groups, PEAK, weight_decay=0.01, fused=True)

    def loss(self, batch: Tensors) -> Tensor:
        mask = batch["attention_mask"]
        if self.job.stage == 2:
            return recommended_prediction(self.student(batch).logits, self.taught(batch), mask)
        with torch.no_grad():
            teacher = self.teacher(batch, [self.shape.mapped_layer(m) for m in range(self.shape.layers_student + 1)])
        student = self.student(batch, range(self.shape.layers_student + 1))
        return recommended_intermediate(student, teacher, mask, self.shape)

    def step(self, batch: Tensors) -> None:
        batch = {name: x.to(self.device, non_blocking=True) for name, x in batch.items()}
        try:
            loss = self.loss_of(batch)
            self.backward(loss)
        except Exception as error:
            if self.loss_of == self.loss or isinstance(error, torch.cuda.OutOfMemoryError):
                raise
            print(f"C: torch.compile failed, going on without it: {error}", file=sys.stderr)
            self.facts["note"] += " (failed, so off)"
            self.loss_of = self.loss
            loss = self.loss_of(batch)
            self.backward(loss)
        self.optimizer.step()
        self.schedule.step()
        self.last = loss.detach()


def matmul_peak(size: int, device: Device, repeats: int = 5, patience: float = 10.0) -> dict[str, float]:
    """FLOP/s of a large square product, by type: the best of a few, or of one where that takes `patience` seconds."""
    place = torch.device("cuda" if device == "gpu" else "cpu")
    peaks = {}
    for dtype in (torch.float32, torch.bfloat16) + ((torch.float16,) if device == "gpu" else ()):
        x = torch.randn(size, size, device=place).to(dtype)
        seconds = []
        while len(seconds) <= repeats and sum(seconds) < patience:
            begin = time.perf_counter()
            (x @ x)[0, 0].item()
            seconds.append(time.perf_counter() - begin)
        peaks[str(dtype).removeprefix("torch.")] = 2 * size**3 / min(seconds[1:] or seconds)
    return peaks

"""The contestants of PyTorch, written for this comparison only: see A, B and C in step.py.

A and B compute what haystack's trainer did in stage 1, C what the project's recommended preset does, as fast as plain
PyTorch will; both with transformers' BERT. Left out of C, as none would change the picture: one matrix for queries,
keys and values, attention over unpadded tokens, CUDA graphs. No learning rate follows a schedule: that takes no time.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
import transformers
from torch import Tensor, nn
from torch.func import functional_call

from benchmarks.common import DROPOUT, Device, Shape
from benchmarks.machine import matmul_peak
from tinybert_jax.data import Batch

Tensors = dict[str, Tensor]

ATTENTION_WEIGHT = 0.01  # of the recommended preset
LEARNING_RATE = 5e-5


def haystack_loss(student: Any, teacher: Any, shape: Shape) -> Tensor:
    """Plain means over hidden states and attention probabilities of mapped layers, padding and all."""
    layers = [(m, shape.mapped_layer(m)) for m in range(shape.layers_student + 1)]
    hidden = sum(F.mse_loss(student.hidden_states[m], teacher.hidden_states[g]) for m, g in layers)
    attention = sum(F.mse_loss(student.attentions[m - 1], teacher.attentions[g - 1]) for m, g in layers[1:])
    return torch.as_tensor(hidden + attention)


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


def recommended_loss(student: Any, teacher: Any, mask: Tensor, shape: Shape) -> Tensor:
    """Means over real tokens of hidden states, and over pairs of them of attention scores."""
    hidden = attention = torch.zeros((), device=mask.device)
    for m in range(shape.layers_student + 1):
        states = student.hidden_states[m].float(), teacher.hidden_states[shape.mapped_layer(m)].float()
        hidden = hidden + ((states[0] - states[1]).square().mean(-1) * mask).sum() / mask.sum()
    for ours, theirs in zip(student.attentions, teacher.attentions, strict=True):
        attention = attention + score_mse(ours, theirs, mask)
    return hidden + ATTENTION_WEIGHT * attention


# --- the networks ----------------------------------------------------------------------------------------------------


def fused_attention(
    module: Any, query: Tensor, key: Tensor, value: Tensor, mask: Tensor, dropout: float = 0.0, **_: Any
) -> tuple[Tensor, tuple[Tensor, Tensor] | None]:
    """For transformers: hands queries and keys on where others do probabilities, of the layers that are compared."""
    context = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, dropout_p=dropout)
    return context.transpose(1, 2), (query, key) if module.layer_idx + 1 in module.config.compared else None


library: Any = transformers  # its classes are found as they are used, which type checkers do not follow
library.AttentionInterface.register("fused", fused_attention)


def make_bert(shape: Shape, layers: int, attention: str, dropout: float) -> Any:
    """Transformers' BERT with the span head, at random."""
    config = library.BertConfig(**shape.bert(layers, dropout), attn_implementation=attention)
    config.compared = [shape.mapped_layer(m) * layers // shape.layers_teacher for m in range(shape.layers_student + 1)]
    return library.BertForQuestionAnswering(config)


class Peer(ABC):
    """For a `Stopwatch`: the two networks and an update."""

    attention: str

    def __init__(self, shape: Shape, device: Device, dropout: float = DROPOUT):
        self.shape = shape
        self.device = torch.device("cuda" if device == "gpu" else "cpu")
        layers = (shape.layers_teacher, shape.layers_student)
        teacher, student = (make_bert(shape, n, self.attention, dropout).to(self.device) for n in layers)
        self.teacher, self.student = teacher.eval().requires_grad_(False), student.train()
        self.last = torch.zeros(())
        where = torch.cuda.get_device_name() if device == "gpu" else f"{torch.get_num_threads()} threads"
        self.facts: dict[str, Any] = {"device": f"PyTorch {torch.__version__}, {where}"}

    @abstractmethod
    def run(self, network: Any, batch: Tensors) -> Any:
        """The encoder's outputs, layer by layer."""

    def prepare(self, batch: Batch) -> Tensors:
        names = ("input_ids", "token_type_ids", "attention_mask")
        tensors = {name: torch.from_numpy(getattr(batch, name)) for name in names}
        return {name: x.pin_memory() if self.device.type == "cuda" else x for name, x in tensors.items()}

    def inputs(self, batch: Tensors, dtype: torch.dtype) -> dict[str, Any]:
        """Of the encoder; the mask is made here, as transformers would look at it first, and wait for the device."""
        mask = torch.zeros(batch["attention_mask"].shape, dtype=dtype, device=self.device)
        mask = mask.masked_fill(~batch["attention_mask"], torch.finfo(dtype).min)[:, None, None]
        return batch | {"attention_mask": mask, "output_hidden_states": True, "output_attentions": True}

    def states(self, batch: Tensors) -> tuple[Any, Any]:
        """What is compared, of student and teacher."""
        with torch.no_grad():
            teacher = self.run(self.teacher, batch)
        return self.run(self.student, batch), teacher

    def finish(self) -> float:
        loss = self.last.item()
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        return loss

    def device_memory(self) -> int | None:
        """The accelerator's peak in bytes; None on a CPU."""
        return torch.cuda.max_memory_allocated() if self.device.type == "cuda" else None


# --- the trainers ----------------------------------------------------------------------------------------------------


class Haystack(Peer):
    """A, and B where `autocast` is given: eager attention, everything kept, a sync every step."""

    attention = "eager"

    def __init__(self, shape: Shape, device: Device, *, autocast: bool = False, dropout: float = DROPOUT):
        super().__init__(shape, device, dropout)
        self.optimizer = torch.optim.AdamW(self.student.parameters(), LEARNING_RATE, weight_decay=0.01)
        half = torch.float16 if device == "gpu" else torch.bfloat16
        self.autocast = torch.autocast(self.device.type, half, enabled=autocast)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=autocast and device == "gpu")
        if autocast:
            self.facts["note"] = f"autocast to {half}" + ", GradScaler" * (device == "gpu")

    def run(self, network: Any, batch: Tensors) -> Any:
        return network.bert(**self.inputs(batch, torch.float32))

    def loss(self, batch: Tensors) -> Tensor:
        return haystack_loss(*self.states(batch), self.shape)

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
        self.last = loss.detach()
        loss.item()


class Tuned(Peer):
    """C: float32 masters, fused attention, Gram loss, fused AdamW, no sync; bfloat16 and compiled where it pays."""

    attention = "fused"

    def __init__(self, shape: Shape, device: Device, *, half: bool = True, dropout: float = 0.0):
        super().__init__(shape, device, dropout)
        self.dtype = torch.bfloat16 if half else torch.float32
        self.teacher.bert.to(self.dtype)  # nothing updates the teacher: it needs no float32 masters
        for network in (self.teacher, self.student):  # looked up and summed in float32, of a type from there on
            network.bert.embeddings.LayerNorm.register_forward_pre_hook(lambda _, given: given[0].to(self.dtype))
        kernels, rest = [], []
        for name, parameter in self.student.named_parameters():
            decays = name.endswith(".weight") and "LayerNorm" not in name and "_embeddings" not in name
            (kernels if decays else rest).append(parameter)
        groups = [{"params": kernels}, {"params": rest, "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(groups, LEARNING_RATE, weight_decay=0.01, fused=True)
        compiling = "on" if device == "gpu" else "off, as on a CPU it takes minutes"
        self.facts["note"] = f"{self.dtype} compute over float32 masters; torch.compile {compiling}"
        self.loss_of: Callable[[Tensors], Tensor] = self.loss
        if device == "gpu":
            self.loss_of = torch.compile(self.loss, dynamic=False)

    def run(self, network: Any, batch: Tensors) -> Any:
        named = ((name, x) for name, x in network.bert.named_parameters() if "_embeddings" not in name)
        cast = {name: x.to(self.dtype) for name, x in named}
        return functional_call(network.bert, cast, (), self.inputs(batch, self.dtype))

    def loss(self, batch: Tensors) -> Tensor:
        return recommended_loss(*self.states(batch), batch["attention_mask"], self.shape)

    def step(self, batch: Tensors) -> None:
        batch = {name: x.to(self.device, non_blocking=True) for name, x in batch.items()}
        loss = self.loss_of(batch)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.student.parameters(), 1.0)
        self.optimizer.step()
        self.last = loss.detach()


def products(size: int, device: Device) -> dict[str, Callable[[], Any]]:
    """Large square products, by type."""
    made = {}
    for dtype in ("float32", "bfloat16") + (("float16",) if device == "gpu" else ()):
        x = torch.randn(size, size, device="cuda" if device == "gpu" else "cpu").to(getattr(torch, dtype))
        made[dtype] = lambda x=x: (x @ x)[0, 0].item()
    return made


def half_pays(device: Device) -> bool:
    """Whether bfloat16 products are at least as fast as float32 ones; small ones tell, and a GPU need not be asked."""
    if device == "gpu":
        return True
    peaks = matmul_peak(products(512, device), 512)
    return peaks["bfloat16"] >= peaks["float32"]

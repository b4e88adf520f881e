"""BERT for PyTorch, as small as distillation needs it: transformers' computation and names, nothing else.

One network serves all peers. Parameters are float32; activations have the type that `dtype` says, and each layer
casts its parameters where it uses them, so that `dtype=torch.bfloat16` is bfloat16 compute over float32 masters.
"""

from collections.abc import Collection
from typing import Any, Literal, NamedTuple, cast

import torch
import torch.nn.functional as F
from common import DROPOUT, Shape
from torch import Tensor, nn

Attention = Literal["eager", "sdpa"]


class Seen(NamedTuple):
    """What a forward returns: by layer, 0 being the embeddings' output.

    Attributes:
        logits: (B, T, 2).
        hidden_states: (B, T, D).
        attention: (B, N, T, T) probabilities after dropout ("eager"), or queries and keys (B, N, T, H) ("sdpa").
    """

    logits: Tensor
    hidden_states: dict[int, Tensor]
    attention: dict[int, Any]


class Linear(nn.Linear):
    """`nn.Linear` in the type of its input."""

    def forward(self, input: Tensor) -> Tensor:
        return F.linear(input, self.weight.to(input.dtype), self.bias.to(input.dtype))


class LayerNorm(nn.LayerNorm):
    """`nn.LayerNorm` in the type of its input; torch takes the statistics in float32."""

    def forward(self, input: Tensor) -> Tensor:
        weight, bias = self.weight.to(input.dtype), self.bias.to(input.dtype)
        return F.layer_norm(input, self.normalized_shape, weight, bias, self.eps)


class Embeddings(nn.Module):
    """Sum of three look-ups, normalised."""

    def __init__(self, shape: Shape, dropout: float):
        super().__init__()
        self.word_embeddings = nn.Embedding(shape.vocab, shape.hidden, padding_idx=0)
        self.position_embeddings = nn.Embedding(max(512, shape.length), shape.hidden)
        self.token_type_embeddings = nn.Embedding(2, shape.hidden)
        self.LayerNorm = LayerNorm(shape.hidden, eps=1e-12)
        self.dropout = dropout

    def forward(self, input_ids: Tensor, token_type_ids: Tensor, dtype: torch.dtype) -> Tensor:
        positions = torch.arange(input_ids.shape[1], device=input_ids.device)
        x = self.word_embeddings(input_ids) + self.token_type_embeddings(token_type_ids)
        x = self.LayerNorm((x + self.position_embeddings(positions)).to(dtype))
        return F.dropout(x, self.dropout, self.training)


class SelfAttention(nn.Module):
    """Multi-head attention, formed or fused."""

    def __init__(self, shape: Shape, dropout: float, attention: Attention):
        super().__init__()
        self.query, self.key, self.value = (Linear(shape.hidden, shape.hidden) for _ in range(3))
        self.heads, self.dropout, self.attention = shape.heads, dropout, attention

    def forward(self, x: Tensor, bias: Tensor) -> tuple[Tensor, Any]:
        q, k, v = (f(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for f in (self.query, self.key, self.value))
        if self.attention == "sdpa":
            rate = self.dropout if self.training else 0.0
            context = F.scaled_dot_product_attention(q, k, v, attn_mask=bias, dropout_p=rate)
            return context.transpose(1, 2).flatten(2), (q, k)
        scores = q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5 + bias
        probabilities = F.dropout(scores.softmax(-1), self.dropout, self.training)
        return (probabilities @ v).transpose(1, 2).flatten(2), probabilities


class Residual(nn.Module):
    """Projection, dropout, residual sum, LayerNorm."""

    def __init__(self, inputs: int, shape: Shape, dropout: float):
        super().__init__()
        self.dense, self.LayerNorm = Linear(inputs, shape.hidden), LayerNorm(shape.hidden, eps=1e-12)
        self.dropout = dropout

    def forward(self, x: Tensor, residual: Tensor) -> Tensor:
        return self.LayerNorm(F.dropout(self.dense(x), self.dropout, self.training) + residual)


class Layer(nn.Module):
    """One transformer layer."""

    def __init__(self, shape: Shape, dropout: float, attention: Attention):
        super().__init__()
        output = Residual(shape.hidden, shape, dropout)
        self.attention = nn.ModuleDict({"self": SelfAttention(shape, dropout, attention), "output": output})
        self.intermediate = nn.ModuleDict({"dense": Linear(shape.hidden, shape.intermediate)})
        self.output = Residual(shape.intermediate, shape, dropout)

    def forward(self, x: Tensor, bias: Tensor) -> tuple[Tensor, Any]:
        context, attention = self.attention["self"](x, bias)
        x = self.attention["output"](context, x)
        return self.output(F.gelu(self.intermediate["dense"](x)), x), attention


class Bert(nn.Module):
    """BERT with the span head."""

    def __init__(
        self, shape: Shape, layers: int, *, dtype: torch.dtype, attention: Attention, dropout: float = DROPOUT
    ):
        super().__init__()
        stack = nn.ModuleList(Layer(shape, dropout, attention) for _ in range(layers))
        encoder = nn.ModuleDict({"layer": stack})
        self.bert = nn.ModuleDict({"embeddings": Embeddings(shape, dropout), "encoder": encoder})
        self.qa_outputs = nn.Linear(shape.hidden, 2)
        self.dtype = dtype
        for name, parameter in self.named_parameters():
            if name.endswith(".bias"):
                nn.init.zeros_(parameter)
            elif "LayerNorm" not in name:
                nn.init.normal_(parameter, std=0.02)

    def forward(self, batch: dict[str, Tensor], keep: Collection[int] = (), head_dropout: float = 0.0) -> Seen:
        """Runs a batch and returns the states and the attention of the layers `keep`."""
        bias = torch.zeros(batch["attention_mask"].shape, dtype=self.dtype, device=batch["attention_mask"].device)
        bias = bias.masked_fill(~batch["attention_mask"], torch.finfo(self.dtype).min)[:, None, None]
        embeddings, encoder = self.bert["embeddings"], cast(nn.ModuleDict, self.bert["encoder"])
        x = embeddings(batch["input_ids"], batch["token_type_ids"], self.dtype)
        hidden_states, attention = ({0: x} if 0 in keep else {}), {}
        for number, layer in enumerate(cast(nn.ModuleList, encoder["layer"]), start=1):
            x, attended = layer(x, bias)
            if number in keep:
                hidden_states[number], attention[number] = x, attended
        logits = self.qa_outputs(F.dropout(x.float(), head_dropout, self.training))
        return Seen(logits, hidden_states, attention)

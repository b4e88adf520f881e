"""How far our networks are from transformers' on PyTorch, at the sizes of released checkpoints.

    python -m benchmarks.parity [--models distilbert-base electra-small …]

No weights are fetched: each of transformers' question-answering classes draws its own, every parameter moved by noise
so that none is at a special value, and saves them; ours are what `load_pretrained` reads of that. Both run on the same
rows, of 128, 90 and 17 real tokens, in float32. The table holds the largest differences at real tokens.
"""

from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import jax
import numpy as np

from benchmarks.common import command, say, table
from tinybert_jax.data import Batch
from tinybert_jax.model import BertConfig, BertForQuestionAnswering, forward, load_pretrained

ModelName = Literal[
    "bert-large-wwm", "MiniLM-L12", "roberta-base", "xlm-roberta-base", "camembert-base", "distilbert-base",
    "electra-small", "electra-base",
]  # fmt: skip
_LARGE = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096}
_ROBERTA = {"max_position_embeddings": 514, "type_vocab_size": 1, "layer_norm_eps": 1e-5}
MODELS: dict[ModelName, dict[str, Any]] = {
    "bert-large-wwm": _LARGE,
    "MiniLM-L12": {"hidden_size": 384, "intermediate_size": 1536},
    "roberta-base": {"model_type": "roberta", **_ROBERTA},
    "xlm-roberta-base": {"model_type": "xlm-roberta", "vocab_size": 250002, **_ROBERTA},
    "camembert-base": {"model_type": "camembert", "vocab_size": 32005, **_ROBERTA},
    "distilbert-base": {"model_type": "distilbert"},
    "electra-small": {"model_type": "electra"},
    "electra-base": {
        "model_type": "electra",
        "embedding_size": 768,
        "hidden_size": 768,
        "num_attention_heads": 12,
        "intermediate_size": 3072,
    },
}
NOISE = 0.02  # as BERT's own initialisation


def rows(config: BertConfig) -> Batch:
    """Three rows of real tokens, padded to 128."""
    rng = np.random.default_rng(0)
    real = np.arange(128) < np.array([128, 90, 17])[:, None]
    ids = np.where(real, rng.integers(5, config.vocab_size, real.shape), config.pad_token_id).astype(np.int32)
    segments = (real & (np.arange(128) > 12)).astype(np.int32)
    return Batch(ids, segments, real, np.zeros(3, np.int32), np.zeros(3, np.int32))


def write_peer(name: ModelName, folder: Path) -> Any:
    """Transformers' network, whose weights are in `folder` then."""
    import torch
    import transformers

    config = BertConfig.from_transformers(MODELS[name])
    theirs = transformers.AutoConfig.for_model(**config.to_transformers())
    auto = transformers.AutoModelForQuestionAnswering
    model = auto.from_config(theirs, attn_implementation="eager")
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(NOISE * torch.randn(parameter.shape, generator=generator))
    model.save_pretrained(folder)
    return model.eval()


def differences(name: ModelName) -> dict[str, str]:
    """One row of the table."""
    import torch

    with TemporaryDirectory() as folder:
        peer = write_peer(name, Path(folder))
        config, params = load_pretrained(folder)
    batch = rows(config)
    inputs = {"input_ids": batch.input_ids, "attention_mask": batch.attention_mask.astype(np.int64)}
    if config.family.segments:
        inputs["token_type_ids"] = batch.token_type_ids
    with torch.no_grad():
        tensors = {key: torch.tensor(value).long() for key, value in inputs.items()}
        theirs = peer(**tensors, output_hidden_states=True)
    ours = jax.jit(partial(forward, BertForQuestionAnswering(config)))(params, batch)
    logits = np.stack([theirs.start_logits, theirs.end_logits], axis=-1)
    states = np.stack([state.numpy() for state in theirs.hidden_states])
    real = batch.attention_mask
    return {
        "model": name,
        "parameters, M": f"{sum(leaf.size for leaf in jax.tree.leaves(params)) / 1e6:.1f}",
        "logits": f"{np.abs(np.asarray(ours.logits) - logits)[real].max():.1e}",
        "hidden states": f"{np.abs(np.asarray(ours.hidden_states) - states)[:, real].max():.1e}",
        "largest logit": f"{np.abs(logits[real]).max():.2f}",
    }


def main(models: tuple[ModelName, ...] = tuple(MODELS)) -> None:
    """Prints the table.

    Args:
        models: the shapes to compare.
    """
    found = []
    for name in models:
        say(f"{name} …")
        found.append(differences(name))
    print(table(found))


if __name__ == "__main__":
    command(main, __doc__)

"""Networks beside their twins in PyTorch: random parameters, one batch for both."""

import jax
import numpy as np
import pytest


def torch_twin(name, config):
    """One of transformers' classes with every parameter random, in evaluation."""
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    theirs = transformers.AutoConfig.for_model(**config.to_transformers())
    model = getattr(transformers, name)._from_config(theirs, attn_implementation="eager")
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
    return model.eval()


def torch_forward(model, config, batch):
    """The twin's outputs on a batch of ours: padded as its family pads, and with segments where it reads them."""
    torch = pytest.importorskip("torch")
    inputs = {"input_ids": torch.tensor(np.where(batch.attention_mask, batch.input_ids, config.pad_token_id))}
    if config.family.segments:
        inputs["token_type_ids"] = torch.tensor(batch.token_type_ids)
    mask = torch.tensor(batch.attention_mask).long()
    return model(**inputs, attention_mask=mask, output_hidden_states=True, output_attentions=True)


def close(ours, theirs, tolerance=2e-5):
    np.testing.assert_allclose(ours, np.asarray(theirs), rtol=0, atol=tolerance)


def assert_same(ours, theirs):
    assert jax.tree.structure(ours) == jax.tree.structure(theirs)
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)

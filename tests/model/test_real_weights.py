"""Parity with PyTorch on trained weights: `SMALL_BERTS=FOLDER pytest tests/model/test_real_weights.py`.

FOLDER holds transformers folders of BERT encoders without a question-answering head.
"""

import os
from pathlib import Path

import jax
import numpy as np
import pytest

from tinybert_jax.data import Batch
from tinybert_jax.model import BertForQuestionAnswering, forward, load_pretrained, save_pretrained

FOLDERS = sorted(path.parent for path in Path(os.environ.get("SMALL_BERTS", "/nowhere")).glob("*/config.json"))
TOLERANCE = 2e-5


@pytest.mark.skipif(not FOLDERS, reason="no trained weights: SMALL_BERTS names no folder of models")
@pytest.mark.filterwarnings("ignore:.*head")
@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: path.name)
def test_parity_and_round_trip(folder, tmp_path):
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    config, params = load_pretrained(folder)
    rng = np.random.default_rng(0)
    mask = np.arange(48) < np.array([48, 30, 11, 40])[:, None]
    ids = np.where(mask, rng.integers(1000, config.vocab_size, mask.shape), 0).astype(np.int32)
    segments = (mask & (np.arange(48) > 12)).astype(np.int32)
    batch = Batch(ids, segments, mask, np.zeros(4, np.int32), np.zeros(4, np.int32))
    run = jax.jit(forward, static_argnames=("model", "attention"))
    ours = run(BertForQuestionAnswering(config), params, batch, attention="probabilities")

    save_pretrained(tmp_path / "saved", config, params)
    reloaded_config, reloaded = load_pretrained(tmp_path / "saved")
    assert reloaded_config == config
    assert jax.tree.all(jax.tree.map(np.array_equal, params, reloaded))

    eager = {"attn_implementation": "eager"}
    inputs = {"input_ids": ids, "token_type_ids": segments, "attention_mask": mask.astype(np.int64)}
    inputs = {name: torch.tensor(value) for name, value in inputs.items()}
    # the encoder as it was published, and the export with its fresh head
    original = transformers.BertModel.from_pretrained(folder, **eager).eval()
    exported, report = transformers.AutoModelForQuestionAnswering.from_pretrained(
        tmp_path / "saved", output_loading_info=True, **eager
    )
    assert not any(report.values())
    with torch.no_grad():
        encoder = original(**inputs, output_hidden_states=True, output_attentions=True)
        spans = exported.eval()(**inputs)

    def difference(mine, theirs, where):
        return np.abs(np.asarray(mine) - theirs.numpy())[where].max()

    for state, reference in zip(ours.hidden_states, encoder.hidden_states, strict=True):
        assert difference(state, reference, mask) <= TOLERANCE
    queries = np.broadcast_to(mask[:, None, :], (4, config.num_attention_heads, 48))
    for probabilities, reference in zip(ours.probabilities, encoder.attentions, strict=True):
        assert difference(probabilities, reference, queries) <= TOLERANCE
    assert difference(ours.logits[..., 0], spans.start_logits, mask) <= TOLERANCE
    assert difference(ours.logits[..., 1], spans.end_logits, mask) <= TOLERANCE

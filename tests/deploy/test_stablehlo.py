import subprocess
import sys
from dataclasses import replace
from functools import partial

import jax
import numpy as np
import pytest

from tinybert_jax.data import Batch
from tinybert_jax.deploy.stablehlo import to_stablehlo
from tinybert_jax.model import BertForQuestionAnswering, Model, forward

pytestmark = pytest.mark.usefixtures("compiled_quickly")

ALONE = """
import sys
from importlib.abc import MetaPathFinder

class Refuse(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("flax", "tinybert_jax", "torch", "transformers"):
            raise ImportError(f"{name} is not to be needed")

sys.meta_path.insert(0, Refuse())
import numpy as np
from jax import export

for folder in sys.argv[1:]:
    exported = export.deserialize(bytearray(open(f"{folder}/model.stablehlo", "rb").read()))
    for length in (12, 33):
        arrays = np.load(f"{folder}/{length}.npz")
        logits = exported.call(arrays["input_ids"], arrays["attention_mask"], arrays["token_type_ids"])
        np.testing.assert_allclose(logits, arrays["logits"], rtol=0, atol=1e-5)
"""


@pytest.fixture(scope="module")
def bert_and_roberta(config, random_params):
    roberta = replace(config, model_type="roberta", pad_token_id=1, type_vocab_size=1)
    configs = [replace(one, max_position_embeddings=40) for one in (config, roberta)]
    return [Model(one, random_params(BertForQuestionAnswering(one), seed=4)) for one in configs]


def test_it_computes_the_same_at_any_shape_without_flax_or_this_package(bert_and_roberta, tmp_path):
    rng = np.random.default_rng(0)
    for model in bert_and_roberta:
        folder = tmp_path / model.config.model_type
        folder.mkdir()
        content = to_stablehlo(model)
        (folder / "model.stablehlo").write_bytes(content)
        for length, lengths in ((12, [12, 4, 0]), (33, [20, 33])):
            real = np.arange(length) < np.array(lengths)[:, None]
            ids = rng.integers(1, 40, real.shape).astype(np.int32)
            segments = (real & (np.arange(length) > 3)).astype(np.int32)
            zeros = np.zeros(len(lengths), np.int32)
            batch = Batch(ids, segments, real, zeros, zeros)
            logits = jax.jit(partial(forward, model.network, model.params))(batch).logits
            arrays = {"input_ids": ids, "token_type_ids": segments, "attention_mask": real.astype(np.int32)}
            np.savez(folder / f"{length}.npz", **arrays, logits=logits)
        exported = jax.export.deserialize(bytearray(content))
        assert set(exported.platforms) == {"cpu", "cuda", "rocm", "tpu"}
        longer = np.ones((1, model.config.max_positions + 1), np.int32)
        with pytest.raises(ValueError):
            exported.call(longer, longer, longer)
    folders = sorted(tmp_path.iterdir())
    ended = subprocess.run([sys.executable, "-c", ALONE, *folders], capture_output=True, text=True, timeout=120)
    assert ended.returncode == 0, ended.stderr

"""What importing the package costs, and what of it runs without the libraries around it."""

import subprocess
import sys

import pytest

HEAVY = ("transformers", "tokenizers", "datasets", "orbax", "tyro", "tqdm", "matplotlib", "huggingface_hub", "torch")


def run(code: str) -> str:
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def test_importing_loads_jax_and_flax_alone():
    # what flax itself loads is not ours to avoid
    loaded = "sorted({name.split('.')[0] for name in sys.modules})"
    baseline = run(f"import sys, jax, flax.linen, flax.traverse_util; print({loaded})")
    ours = run(f"import sys, tinybert_jax; print({loaded})")
    added = set(eval(ours)) - set(eval(baseline))
    assert not added & {*HEAVY, "optax", "safetensors"}, added


@pytest.mark.parametrize("module", ["train", "evaluate"])
def test_the_scripts_start_without_what_they_may_not_need(module):
    loaded = eval(run(f"import sys, {module}; print([m for m in {HEAVY} if m in sys.modules])"))
    assert set(loaded) <= ({"orbax"} if module == "train" else set())


def test_networks_and_distillation_run_on_jax_flax_optax_numpy_and_safetensors(tmp_path):
    run(f"""
import sys
import jax, flax.linen, optax  # theirs first: flax may use orbax for itself
for name in {HEAVY}:
    sys.modules[name] = None
import numpy as np
from typing import NamedTuple
from tinybert_jax.distill import *
from tinybert_jax.model import *
from tinybert_jax.sharding import data_mesh

class Batch(NamedTuple):
    input_ids: object; token_type_ids: object; attention_mask: object; start: object; end: object

ids = np.ones((2, 8), np.int32)
batch = Batch(ids, ids * 0, ids > 0, np.zeros(2, np.int32), np.zeros(2, np.int32))
config = BertConfig(8, 8, 1, 2, 8)
save_pretrained({str(tmp_path / "model")!r}, config, init_params(BertForQuestionAnswering(config), jax.random.key(0)))
config, params = load_pretrained({str(tmp_path / "model")!r})
network, objective, optimizer = BertForQuestionAnswering(config), Intermediate(), make_optimizer(OptimizerConfig(), 9)
step = make_train_step(network, network, objective, optimizer)
state, metrics = step(create_state(params, {{}}, optimizer, data_mesh()), params, batch, jax.random.key(0))
print(float(metrics["loss"]))
""")

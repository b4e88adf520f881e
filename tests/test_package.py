"""What importing the package costs, and what of it runs without the libraries around it."""

import ast
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions, version
from pathlib import Path

import pytest

import tinybert_jax

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

HEAVY = ("transformers", "tokenizers", "datasets", "orbax", "tyro", "tqdm", "matplotlib", "huggingface_hub", "torch")


def run(code: str) -> str:
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def names_of(requirements):
    """Distributions' names as pip compares them."""
    return {re.sub(r"[-_.]+", "-", re.match(r"[\w.-]+", one)[0]).lower() for one in requirements}


# Modules that an extra's libraries are the whole point of; others import them in functions, once the extra is there.
OF_AN_EXTRA = {
    "deploy/graph.py",
    "deploy/onnx.py",
    "deploy/quantisation.py",
    "report/charts.py",
    "report/page.py",
}


def modules_of(path):
    """What a file imports: {dotted name: whether anything but a function's body imports it}."""
    tree, found = ast.parse(path.read_text(encoding="utf-8")), {}
    late = {node for f in ast.walk(tree) if isinstance(f, ast.FunctionDef) for node in ast.walk(f)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            modules = [node.module]
        else:
            continue
        for name in modules:
            found[name] = found.get(name, False) or node not in late
    return found


def imports_of(path):
    """What a file imports from outside, by its top-level name."""
    found = {}
    for name, early in modules_of(path).items():
        found[name.split(".")[0]] = found.get(name.split(".")[0], False) or early
    return {name: early for name, early in found.items() if name not in {*sys.stdlib_module_names, "tinybert_jax"}}


def test_every_import_is_declared():
    """What an extra brings is imported where it is used, so that the rest runs without."""
    required = names_of(PROJECT["dependencies"])
    extras = PROJECT["optional-dependencies"]
    optional = names_of(one for extra in extras if extra != "dev" for one in extras[extra]) - required
    distributions = packages_distributions()
    for path in (ROOT / "tinybert_jax").rglob("*.py"):
        for name, early in imports_of(path).items():
            of_name = names_of(distributions.get(name, [name]))
            late = not early or path.relative_to(ROOT / "tinybert_jax").as_posix() in OF_AN_EXTRA
            allowed = required | optional if late else required
            assert of_name & allowed, f"{path.relative_to(ROOT)} imports {name}, which pyproject.toml does not declare"


def test_modules_of_an_extra_are_imported_where_they_are_used():
    names = {f"tinybert_jax.{name.removesuffix('.py').replace('/', '.')}" for name in OF_AN_EXTRA}
    for path in (ROOT / "tinybert_jax").rglob("*.py"):
        if path.relative_to(ROOT / "tinybert_jax").as_posix() not in OF_AN_EXTRA:
            assert not [name for name, early in modules_of(path).items() if early and name in names], path


def test_the_version_is_the_installed_one():
    assert tinybert_jax.__version__ == version("tinybert-jax")


def test_types_are_shipped():
    assert (ROOT / "tinybert_jax" / "py.typed").exists()
    assert (
        "py.typed"
        in tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]["package-data"][
            "tinybert_jax"
        ]
    )


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
    assert set(loaded) <= {"orbax" if module == "train" else "tyro"}


@pytest.mark.usefixtures("compiled_quickly")
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

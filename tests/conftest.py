"""What several folders of tests share: BERTs small enough to compile in a second, and data for them."""

import os
import shutil
import string
import subprocess

# Threads of OpenMP spin while they wait for one another, on processors that the tests' other workers want.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import jax
import jaxtyping
import numpy as np
import pytest
from hypothesis import HealthCheck, settings

# Types and shapes in these modules' signatures are checked on every call; modules that check what users write are left
# to speak for themselves. An int will do as a float.
jaxtyping.install_import_hook(
    [
        "tinybert_jax.model.bert",
        "tinybert_jax.model.embeddings",
        "tinybert_jax.model.masked_lm",
        "tinybert_jax.model.ops",
        "tinybert_jax.distill",
        "tinybert_jax.inference",
        "tinybert_jax.scoring.answers",
        "tinybert_jax.scoring.bootstrap",
    ],
    "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))",
)

from tinybert_jax.augment.candidates import load_masked_lm
from tinybert_jax.augment.rules import AugmentConfig
from tinybert_jax.data import Batch, Example, GoldAnswer, load_tokenizer
from tinybert_jax.data.squad_writer import write_squad
from tinybert_jax.data.windows import WindowConfig
from tinybert_jax.distill import Intermediate, Prediction
from tinybert_jax.model import BertConfig, BertForMaskedLM, BertForQuestionAnswering, init_params, save_pretrained
from tinybert_jax.run.recipe import Recipe, Stage

# How long an example takes is the machine's business: other work may be going on there.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")

WORDS = [
    "river",
    "city",
    "old",
    "small",
    "king",
    "queen",
    "stone",
    "green",
    "north",
    "south",
    "ran",
    "built",
    "found",
    "name",
    "people",
    "water",
    "house",
    "great",
]
PIECES = ["the", "of", "a", ".", ",", "7", "##s", "##ing", *"xyz", "##x", "##y", "##z"]

SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
CHARACTERS = [*string.ascii_lowercase, *string.digits, *string.punctuation, "ᄒ", "ᅡ", "ᆫ", "中", "ß", "é"]


# What takes longest, so that no worker begins with it when the others are nearly done.
LONGEST_FIRST = (
    "benchmarks/test_report.py",
    "test_readme.py",
    "run/test_cluster.py",
    "test_chaos.py",
    "reference/test_parity.py",
    "test_train*.py",
    "augment/test_masked_words.py",
    "distill/test_step.py",
)


def pytest_collection_modifyitems(items):
    """Files of tests in the order of `LONGEST_FIRST`, then all others in theirs."""

    def rank(item):
        return next((rank for rank, name in enumerate(LONGEST_FIRST) if item.path.match(name)), len(LONGEST_FIRST))

    items.sort(key=rank)


@pytest.fixture(scope="session", autouse=True)
def compiled_once(tmp_path_factory):
    """A program that several tests compile, or processes that they start, is compiled once a session."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "xla"  # workers share it
    settings = {
        "jax_compilation_cache_dir": os.environ.get("JAX_COMPILATION_CACHE_DIR", str(folder)),
        "jax_persistent_cache_min_compile_time_secs": 0.1,
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in settings.items():
            jax.config.update(name, value)
            patch.setenv(name.upper(), str(value))
        yield


@pytest.fixture(scope="module")
def compiled_quickly():
    """Compiles a module's programs, and those of processes it starts, in half of the time: LLVM optimises little.

    For tests of what a run does with its steps, not of what a step computes.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAX_DISABLE_MOST_OPTIMIZATIONS", "true")
        jax.config.update("jax_disable_most_optimizations", True)
        # JAX takes a program that this process has compiled already, however it was compiled, unless this differs,
        # which does nothing else here. Else what a run computes would depend on the tests before it.
        jax.config.update("jax_xla_profile_version", 1)
        yield
        jax.config.update("jax_disable_most_optimizations", False)
        jax.config.update("jax_xla_profile_version", 0)


@pytest.fixture(scope="module")
def quick_runs(compiled_quickly):
    """Runs of a module draw no curves, which takes seconds a stage: those of `test_train.py` do."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tinybert_jax.run.hooks.plot_curves", lambda folder: None)
        yield


@pytest.fixture
def small_disk(tmp_path):
    """A folder with room for a megabyte, where the system lets the tests make one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("a file system of a megabyte needs the right to mount one")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture
def unchecked_shapes():
    """As users call it: shapes in signatures are not checked, so that the functions' own checks must speak."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    """A word is cut into its characters, so that token positions are easily counted."""
    return letter_tokenizer(tmp_path_factory.mktemp("tokenizer"))


def letter_tokenizer(folder, characters=CHARACTERS):
    vocabulary = [*SPECIALS, *characters, *("##" + piece for piece in characters)]
    (folder / "vocab.txt").write_text("\n".join(vocabulary) + "\n", encoding="utf-8")
    return load_tokenizer(folder)


@pytest.fixture
def hub_server(monkeypatch, tmp_path):
    """A hub on loopback, which is all that the hub's clients in this process know of, with empty caches.

    They read HF_ENDPOINT and HF_HOME once, when they are imported, and most tests cannot wait for a process of their
    own: what they have read is changed. `test_hub_environment.py` sets the variables for whole processes.
    """
    import datasets.config
    from huggingface_hub import constants

    from tests.hub_server import HubServer

    server, home = HubServer(), tmp_path / "hf"
    known = {
        "ENDPOINT": server.url,
        "HUGGINGFACE_CO_URL_TEMPLATE": server.url + "/{repo_id}/resolve/{revision}/{filename}",
        "HF_HUB_CACHE": str(home / "hub"),
        "HF_TOKEN_PATH": str(home / "token"),
        "HF_STORED_TOKENS_PATH": str(home / "stored_tokens"),
        "HF_HUB_DISABLE_XET": True,
        "HF_HUB_DISABLE_TELEMETRY": True,
    }
    for name, value in known.items():
        monkeypatch.setattr(constants, name, value)
    monkeypatch.setattr(datasets.config, "HF_ENDPOINT", server.url)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", home / "datasets")
    monkeypatch.delenv("HF_TOKEN", raising=False)
    yield server
    server.close()


def _random_params(model, seed):
    """Every leaf random, biases and scales too: at BERT's own initialisation a swapped bias would go unseen."""
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(lambda key: init_params(model, key), jax.random.key(0))
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: ((path[-1].key == "scale") + 0.2 * rng.normal(size=leaf.shape)).astype(np.float32), shapes
    )


@pytest.fixture(scope="session")
def random_params():
    """`random_params(model, seed)`: numpy parameters with no leaf at a special value."""
    return _random_params


@pytest.fixture(scope="session")
def config():
    """Two layers, 16 wide."""
    return BertConfig(
        vocab_size=40,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=24,
        max_position_embeddings=16,
    )


@pytest.fixture(scope="session")
def params(config):
    """Question-answering parameters of `config`; read-only."""
    params = _random_params(BertForQuestionAnswering(config), seed=1)
    jax.tree.map(lambda leaf: leaf.setflags(write=False), params)
    return params


@pytest.fixture(scope="session")
def batch():
    """Rows of 8, 5 and 3 real tokens, padded to 8."""
    rng = np.random.default_rng(0)
    real = np.arange(8) < np.array([8, 5, 3])[:, None]
    return Batch(
        input_ids=np.where(real, rng.integers(1, 40, real.shape), 0).astype(np.int32),
        token_type_ids=(real & (np.arange(8) > 1)).astype(np.int32),
        attention_mask=real,
        start=np.array([2, 0, 1], np.int32),
        end=np.array([4, 0, 2], np.int32),
    )


@pytest.fixture(scope="session")
def masked_lm_folder(tmp_path_factory, random_params):
    """A folder with random weights, as `--model` takes it."""
    from transformers import BertTokenizer

    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[unused0]", *PIECES, *WORDS]
    tokenizer = BertTokenizer(vocab={piece: i for i, piece in enumerate(vocabulary)}, do_lower_case=True)
    config = BertConfig(
        vocab_size=len(vocabulary) + 2,  # models' tables are often padded
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=24,
        max_position_embeddings=40,
    )
    folder = tmp_path_factory.mktemp("models") / "masked-lm"
    save_pretrained(folder, config, random_params(BertForMaskedLM(config), seed=3), tokenizer)
    return folder


@pytest.fixture(scope="session")
def masked_lm(masked_lm_folder):
    return load_masked_lm(str(masked_lm_folder))


@pytest.fixture(scope="session")
def paragraphs():
    """Paragraphs of 0 to 90 words, each with a question that has an answer and one that has none."""
    rng = np.random.default_rng(0)
    made = []
    for number, length in enumerate([7, 0, 1, 25, 90, 3, 40, 12, 18, 60]):
        words = rng.choice([*WORDS, "the", "of", "7", ".", "xyz", "unknown"], length).tolist()
        context = " ".join(word.capitalize() if rng.random() < 0.2 else word for word in words)
        first = context.split(" ")[0]
        answers = (GoldAnswer(first, 0),) if first else ()
        questions = [("a", answers), ("b", ())]
        made.append([Example(f"{number}{name}", "Who ?", context, golds, "T") for name, golds in questions])
    return made


@pytest.fixture(scope="session")
def certified(tmp_path_factory, random_params):
    """Small models and the certified export of one, as `tests/deploy/certified.py` makes them; read-only."""
    from tests.deploy.certified import make

    pytest.importorskip("onnxruntime")
    tokenizer, other = (
        letter_tokenizer(tmp_path_factory.mktemp("t"), order) for order in (CHARACTERS, CHARACTERS[::-1])
    )
    return make(tmp_path_factory.mktemp("certified"), tokenizer, other, random_params)


@pytest.fixture
def augmenting_recipe(masked_lm_folder, masked_lm, paragraphs, random_params, tmp_path):
    """Both stages of distillation of a model by itself on `paragraphs`, the first stage on four copies of them."""
    data, model = tmp_path / "data.json", tmp_path / "model"
    write_squad(data, paragraphs)
    weights = random_params(BertForQuestionAnswering(masked_lm.config), 0)
    save_pretrained(model, masked_lm.config, weights, masked_lm.tokenizer)
    return Recipe(
        name="augmenting",
        student=str(model),
        teacher=str(model),
        train=str(data),
        dev=str(data),
        stages=(
            Stage(objective=Intermediate(), epochs=1, batch_size=8, augmented=True),
            Stage(objective=Prediction(), epochs=1, batch_size=8),
        ),
        augment=AugmentConfig(copies=4, model=str(masked_lm_folder), candidates=3, dtype="float32"),
        windows=WindowConfig(max_seq_len=40, doc_stride=8, max_question_len=8),
        buckets=(40,),
        dtype="float32",
        cache=tmp_path / "cache",
    )

import json
import threading
from dataclasses import replace
from typing import NamedTuple

import jax
import numpy as np
import optax
import pytest

from tests.store.one_by_one import contents, made_by
from tinybert_jax.data import (
    Epochs,
    Example,
    GoldAnswer,
    WindowConfig,
    Windows,
    build_windows,
    load_tokenizer,
)
from tinybert_jax.data.window_cache import windows_key
from tinybert_jax.distill import Prediction, create_state, make_train_step
from tinybert_jax.errors import UserError
from tinybert_jax.inference import JaxNetwork, predict_logits, teacher_cache
from tinybert_jax.inference import network as network_module
from tinybert_jax.inference.teacher_cache import cached_logits, logits_key
from tinybert_jax.model import BertForQuestionAnswering, Model
from tinybert_jax.sharding import data_mesh, replicate, shard_batch
from tinybert_jax.store import cache as store_cache
from tinybert_jax.store.cache import Entry
from tinybert_jax.store.npy import npy_header

VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghijkl"]
WINDOWS = WindowConfig(max_seq_len=12, doc_stride=2, max_question_len=4)
EXAMPLES = [
    Example("1", "a b", "c d e f g h i j k l a b c", (GoldAnswer("d e", 2),)),
    Example("2", "c", "a b c", ()),
    Example("3", "d e", "a b c d e f g h i", (GoldAnswer("i", 16),)),
    Example("4", "f", "k l", ()),
]
BATCHES = {"batch_size": 2, "buckets": (8, 12)}
COUNT = 7  # windows of EXAMPLES: 3, 1, 2 and 1


def make_tokenizer(folder, vocabulary=VOCABULARY, **options):
    folder.mkdir()
    (folder / "vocab.txt").write_text("\n".join(vocabulary) + "\n", encoding="utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps(options))
    return load_tokenizer(folder)


class Task(NamedTuple):
    """A teacher, and windows for it."""

    teacher: Model
    windows: Windows
    key: str

    def cached(self, folder, dtype="float32", **changes):
        teacher, windows, key = self._replace(**changes)
        return cached_logits(teacher, windows, key, folder, dtype, **BATCHES)

    def computed(self):
        return predict_logits(JaxNetwork(self.teacher), self.windows, **BATCHES)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return make_tokenizer(tmp_path_factory.mktemp("tokenizer") / "plain")


@pytest.fixture(scope="module")
def task(config, params, tokenizer):
    windows = build_windows(EXAMPLES, tokenizer, WINDOWS)
    assert len(windows) == COUNT
    return Task(Model(config, params), windows, windows_key(EXAMPLES, tokenizer, WINDOWS))


@pytest.fixture
def forwards(monkeypatch):
    """Counts the windows that go through a network, in blocks of 2; at `at_most` of them it interrupts."""
    counted, real = {"windows": 0, "at_most": np.inf}, network_module._logits

    def counting(network, params, batch):
        if counted["windows"] >= counted["at_most"]:
            raise KeyboardInterrupt
        counted["windows"] += int(np.asarray(batch.attention_mask).any(axis=1).sum())
        return real(network, params, batch)

    monkeypatch.setattr(network_module, "_logits", counting)
    monkeypatch.setattr(teacher_cache, "_BLOCK", 2)
    return counted


def test_the_cache_holds_the_teacher_s_logits_and_is_read_without_computing(task, tmp_path, forwards):
    first = task.cached(tmp_path)
    assert (first.shape, first.dtype) == ((len(task.windows.tokens), 2), np.float32)
    assert forwards["windows"] == COUNT
    again = task.cached(tmp_path)
    assert forwards["windows"] == COUNT
    np.testing.assert_array_equal(again, first)
    assert isinstance(again, np.memmap) and not again.flags.writeable
    np.testing.assert_allclose(again, task.computed(), atol=1e-6)
    assert len(list((tmp_path / "logits").iterdir())) == 1


def test_float16_keeps_half_precision(task, tmp_path):
    half, whole = task.cached(tmp_path, "float16"), task.cached(tmp_path, "float32")
    assert half.dtype == np.float16
    np.testing.assert_array_equal(half, np.asarray(whole).astype(np.float16))
    np.testing.assert_allclose(half, whole, rtol=2**-11, atol=2**-25)
    assert (half != whole).any()


def scaled(teacher, factor):
    head = jax.tree.map(lambda leaf: leaf * np.float32(factor), teacher.params["qa_outputs"])
    return teacher._replace(params={**teacher.params, "qa_outputs": head})


def test_logits_that_the_cache_cannot_hold_are_refused(task, tmp_path):
    loud = scaled(task.teacher, 1e5)
    with pytest.raises(UserError, match=r"finite in float16, whose largest number is 65504\S*, got -?\d{5,}"):
        task.cached(tmp_path, "float16", teacher=loud)
    assert np.abs(task.cached(tmp_path, "float32", teacher=loud)).max() > 65504
    with pytest.raises(UserError, match=r"finite in float32, .* got nan"):
        task.cached(tmp_path, "float32", teacher=scaled(task.teacher, np.nan))


# --- the key ---------------------------------------------------------------------------------------------------------


def changed_element(params, path):
    """The parameters with one element of one leaf changed by its last bit."""
    copy = jax.tree.map(np.copy, params)
    leaf = copy
    for name in path:
        leaf = leaf[name]
    leaf.flat[-1] = np.nextafter(leaf.flat[-1], np.float32(np.inf))
    return copy


def test_every_ingredient_of_the_teacher_changes_the_key(task):
    config, params = task.teacher
    reshaped = params["qa_outputs"]["kernel"].reshape(2, -1)
    renamed = {**params, "other": params["qa_outputs"]}
    del renamed["qa_outputs"]
    teachers = [
        task.teacher,
        task.teacher._replace(params=changed_element(params, ("qa_outputs", "bias"))),
        task.teacher._replace(params=changed_element(params, ("bert", "embeddings", "word_embeddings", "embedding"))),
        task.teacher._replace(params={**params, "qa_outputs": {**params["qa_outputs"], "kernel": reshaped}}),
        task.teacher._replace(params=jax.tree.map(lambda leaf: leaf.astype(np.float16), params)),
        task.teacher._replace(params=renamed),
        task.teacher._replace(config=replace(config, dtype="bfloat16")),
        task.teacher._replace(config=replace(config, layer_norm_eps=1e-5)),
    ]
    keys = [logits_key(teacher, task.key, "float32") for teacher in teachers]
    keys += [logits_key(task.teacher, "other data", "float32"), logits_key(task.teacher, task.key, "float16")]
    assert len(set(keys)) == len(keys)
    copied = task.teacher._replace(params=jax.tree.map(np.copy, params))  # and nothing but content counts
    on_device = task.teacher._replace(params=jax.device_put(params))
    assert {logits_key(teacher, task.key, "float32") for teacher in (copied, on_device)} == {keys[0]}


def test_every_ingredient_of_the_windows_changes_the_key(tokenizer, tmp_path):
    cased = make_tokenizer(tmp_path / "cased", do_lower_case=False)
    reordered = make_tokenizer(tmp_path / "reordered", [*VOCABULARY[:-2], "l", "k"])
    more = make_tokenizer(tmp_path / "more", [*VOCABULARY, "m"])
    example, *rest = EXAMPLES
    examples = [
        [replace(example, question="a c"), *rest],
        [replace(example, context="c d e f g h i j k l a b b"), *rest],
        [replace(example, answers=(GoldAnswer("d", 2),)), *rest],
        [replace(example, answers=()), *rest],
        rest,
        [*rest, example],
    ]
    settings = [{"max_seq_len": 11}, {"doc_stride": 1}, {"max_question_len": 3}]
    keys = [windows_key(EXAMPLES, tokenizer, WINDOWS)]
    keys += [windows_key(changed, tokenizer, WINDOWS) for changed in examples]
    keys += [windows_key(EXAMPLES, changed, WINDOWS) for changed in (cased, reordered, more)]
    keys += [windows_key(EXAMPLES, tokenizer, replace(WINDOWS, **changed)) for changed in settings]
    assert len(set(keys)) == len(keys)


def test_another_teacher_and_other_data_get_caches_of_their_own(task, tmp_path):
    first = np.array(task.cached(tmp_path))
    other = task.teacher._replace(params=changed_element(task.teacher.params, ("qa_outputs", "bias")))
    assert (task.cached(tmp_path, teacher=other) != first).any()
    task.cached(tmp_path, windows=task.windows.slice(0, 3), key="the first three")
    assert len(list((tmp_path / "logits").iterdir())) == 3
    np.testing.assert_array_equal(task.cached(tmp_path), first)


# --- what may happen to a cache --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def whole(task, tmp_path_factory):
    """The logits of an undisturbed cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(teacher_cache, "_BLOCK", 2)
        return np.array(task.cached(tmp_path_factory.mktemp("whole")))


def size(task, count):
    """Bytes of the file up to the end of the first windows."""
    return len(npy_header("f4", (len(task.windows.tokens), 2))) + 8 * int(task.windows.row_splits[count])


def test_a_killed_computation_continues(task, tmp_path, forwards, whole):
    for at_most, blocks_kept in ((4, 2), (2, 3)):
        forwards.update(windows=0, at_most=at_most)
        with pytest.raises(KeyboardInterrupt):
            task.cached(tmp_path)
        (manifest,) = tmp_path.glob("logits/*/manifest.json")
        assert json.loads(manifest.read_text())["parts"]["logits.npy"]["size"] == size(task, 2 * blocks_kept)
    forwards.update(windows=0, at_most=np.inf)
    np.testing.assert_array_equal(task.cached(tmp_path), whole)
    assert forwards["windows"] == 1


def test_what_was_written_but_not_recorded_is_written_again(task, tmp_path, forwards, whole, monkeypatch):
    real, records = store_cache.write_json, []

    def record_once(path, value):
        records.append(value)
        if len(records) > 3:  # the entry, its file's header, a block
            raise KeyboardInterrupt
        real(path, value)

    monkeypatch.setattr(store_cache, "write_json", record_once)
    with pytest.raises(KeyboardInterrupt):
        task.cached(tmp_path)
    (path,) = tmp_path.glob("logits/*/logits.npy")
    with path.open("ab") as file:
        file.write(b"half a block")
    monkeypatch.setattr(store_cache, "write_json", real)
    forwards.update(windows=0)
    np.testing.assert_array_equal(task.cached(tmp_path), whole)
    assert forwards["windows"] == COUNT - 2


def damage_cache(folder, damage):
    path, record = folder / "logits.npy", folder / "manifest.json"
    content, manifest = path.read_bytes(), json.loads(record.read_text())
    part = manifest["parts"]["logits.npy"]
    match damage:
        case "truncated":
            path.write_bytes(content[:-4])
        case "empty":
            path.write_bytes(b"")
        case "missing":
            path.unlink()
        case "foreign":
            np.save(path, np.zeros((len(content), 2), np.float32))
        case "one bit":
            path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        case "one bit of the header":
            path.write_bytes(content[:40] + bytes([content[40] ^ 1]) + content[41:])
        case "no record":
            record.unlink()
        case "half a record":
            record.write_text(record.read_text()[:9])
        case "a record of something else":
            record.write_text("[1, 2]")
        case "too many windows":
            record.write_text(json.dumps({**manifest, "parts": {"logits.npy": {**part, "size": part["size"] + 80}}}))
        case "too few windows":
            record.write_text(json.dumps({**manifest, "parts": {"logits.npy": {**part, "size": part["size"] - 80}}}))


@pytest.mark.parametrize("at_most", [4, np.inf], ids=["unfinished", "finished"])
@pytest.mark.parametrize(
    "damage",
    [
        "truncated",
        "empty",
        "missing",
        "foreign",
        "one bit",
        "one bit of the header",
        "no record",
        "half a record",
        "a record of something else",
        "too many windows",
        "too few windows",
    ],
)
def test_a_damaged_cache_is_computed_again(task, tmp_path, forwards, whole, damage, at_most):
    forwards.update(at_most=at_most)
    try:
        before = task.cached(tmp_path)
    except KeyboardInterrupt:
        before = None
    (folder,) = (tmp_path / "logits").iterdir()
    damage_cache(folder, damage)
    same_file = (folder / "logits.npy").exists() and (folder / "logits.npy").stat().st_ino
    forwards.update(windows=0, at_most=np.inf)
    said_of = r"logits/\w+ in the cache is damaged \((logits\.npy|manifest\.json)\): it is made again"
    with pytest.warns(UserWarning, match=said_of) as said:
        np.testing.assert_array_equal(task.cached(tmp_path), whole)
    assert len(said) == 1
    assert forwards["windows"] == COUNT
    if before is not None:  # whoever reads the old file can go on: it is not the new one
        assert (folder / "logits.npy").stat().st_ino != same_file


def test_of_two_processes_one_computes_and_the_other_waits(task, tmp_path, forwards, whole, capfd):
    entry = Entry(tmp_path, "logits", logits_key(task.teacher, task.key, "float32"))
    read = []
    other = threading.Thread(target=lambda: read.append(task.cached(tmp_path)), daemon=True)

    def make(_):  # locks are an open file's: a thread is as good as a process
        other.start()
        other.join(0.3)
        assert other.is_alive() and not read and forwards["windows"] == 0
        assert "waiting: another process computes the same teacher's logits" in capfd.readouterr().err
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        entry.fill(make)
    other.join(60)
    np.testing.assert_array_equal(read[0], whole)


def test_several_processes_compute_the_logits_of_one(task, tmp_path, forwards):
    def killed():
        forwards.update(at_most=forwards["windows"] + 2)
        with pytest.raises(KeyboardInterrupt):
            made_by(2, lambda: task.cached(tmp_path / "two"))
        forwards.update(at_most=np.inf)

    task.cached(tmp_path / "alone")
    killed()  # the second process, in its second block
    killed()  # the first one
    forwards.update(windows=0)
    made_by(2, lambda: task.cached(tmp_path / "two"))
    assert forwards["windows"] == 2  # one block each had not been computed
    alone, two = (next((tmp_path / name / "logits").iterdir()) for name in ("alone", "two"))
    assert contents(alone) == contents(two)


# --- training from it ------------------------------------------------------------------------------------------------


def train_two_steps(student, epochs, teacher, objective):
    """Losses and parameters after two steps; plain SGD, as Adam would blow rounding up where a gradient is 0."""
    mesh, optimizer = data_mesh(), optax.sgd(0.1)
    network, params = (None, None) if teacher is None else (teacher.network, replicate(teacher.params, mesh))
    step = make_train_step(student.network, network, objective, optimizer)
    state, losses = create_state(student.params, {}, optimizer, mesh), []
    for number in range(2):
        batch = shard_batch(epochs.batch_at(number), mesh)
        state, metrics = step(state, params, batch, jax.random.key(3))
        losses.append(float(metrics["loss"]))
    return losses, jax.device_get(state.params["model"])


def test_training_from_the_cache_is_training_beside_the_teacher(task, config, random_params, tmp_path):
    student_config = replace(config, num_hidden_layers=1)
    student = Model(student_config, random_params(BertForQuestionAnswering(student_config), seed=8))
    cached, objective = task.cached(tmp_path), Prediction(temperature=2.0, soft_weight=0.7)
    assert objective.reads_cache
    beside, taught = (Epochs(task.windows, 4, (12,), 0, logits) for logits in ((), (cached,)))
    losses, params = train_two_steps(student, taught, None, objective)
    expected_losses, expected_params = train_two_steps(student, beside, task.teacher, objective)
    np.testing.assert_allclose(losses, expected_losses, rtol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), params, expected_params)
    moved = np.abs(params["qa_outputs"]["kernel"] - student.params["qa_outputs"]["kernel"]).max()
    assert moved > 1e-3


def test_two_teachers_are_averaged(task, random_params, tmp_path):
    other = task._replace(teacher=task.teacher._replace(params=random_params(task.teacher.network, seed=9)))
    logits = [each.cached(tmp_path) for each in (task, other)]
    mean = (task.computed() + other.computed()) / 2
    for step in range(2):
        together = Epochs(task.windows, 4, (12,), 0, logits).batch_at(step)
        expected = Epochs(task.windows, 4, (12,), 0, [mean]).batch_at(step)
        np.testing.assert_allclose(together.teacher_logits, expected.teacher_logits, atol=1e-6)

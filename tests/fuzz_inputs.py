"""Input of every kind, damaged or hostile: what `tests.fuzz` tries."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from flax.serialization import msgpack_serialize
from safetensors.numpy import load_file, save_file

from tinybert_jax.augment.glove import load_glove
from tinybert_jax.data import load_tokenizer, read_squad
from tinybert_jax.data.squad_writer import paragraphs_of, write_squad
from tinybert_jax.data.tokenizer import check_ids_fit
from tinybert_jax.evaluate import score_predictions
from tinybert_jax.model import BertConfig, load_pretrained
from tinybert_jax.model.checkpoint_files import write_orbax
from tinybert_jax.run.command_line import parse
from tinybert_jax.synthetic.generate import SyntheticConfig
from tinybert_jax.synthetic.task import SyntheticTask, write_task

Random = random.Random
_ODD = (None, True, -1, 0, 2.5, 1e300, float("nan"), 10**12, 2**31, "x", "\ud800", "", [], {}, [[[[]]]])
# Which next to no figure of a recipe may be.
_IMPOSSIBLE = ("nan", "-inf", "-1", "1e300", "-99999999999", "99999999999999", "x", "")
_FIGURES = (
    *(f"--stages.0.{name}" for name in ("learning-rate", "warmup", "weight-decay", "epochs", "batch-size")),
    *("--stages.0.accumulate", "--stages.0.max-steps", "--stages.0.rule.eps", "--stages.0.objective.hidden-weight"),
    *("--stages.1.objective.temperature", "--stages.1.objective.soft-weight", "--seed", "--eval-batch-size"),
    *("--windows.max-seq-len", "--windows.doc-stride", "--answers.n-best", "--answers.max-answer-len", "--buckets"),
    *("--hold-out-questions", "--checkpoint-every", "--log-every", "--train-questions", "--max-seconds"),
)
_SIZES = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "max_position_embeddings")
_NO_SIZES = (-1, 0, 2.5, "x", 10**12, [8], {}, True, float("nan"))


class Input(NamedTuple):
    """Something to read.

    Attributes:
        read: reads it, and returns what it holds.
        is_wrong: whether it is known to be wrong, so that reading it must fail.
        sound: what reading it must give, if it gives anything; None where nobody can know.
    """

    read: Callable[[], Any]
    is_wrong: bool = False
    sound: Any = None


class Sound:
    """Sound files of every kind, to be spoilt."""

    def __init__(self, folder: Path) -> None:
        shape = BertConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8)
        data = SyntheticConfig(train_articles=1, dev_articles=1, paragraphs_per_article=2)
        write_task(SyntheticTask(data, shape, shape, 200), 0, folder / "task")
        self.model, self.squad = folder / "task" / "student", (folder / "task" / "train.json").read_bytes()
        self.examples = list(read_squad(folder / "task" / "train.json"))
        write_squad(folder / "data.arrow", paragraphs_of(self.examples))
        self.arrow = (folder / "data.arrow").read_bytes()
        self.tensors = load_file(self.model / "model.safetensors")
        config, params = load_pretrained(self.model)
        self.config: dict[str, Any] = config.to_transformers()
        self.msgpack = msgpack_serialize(params)
        write_orbax(folder, params)
        self.orbax = {
            str(p.relative_to(folder)): p.read_bytes() for p in folder.glob("params.orbax/**/*") if p.is_file()
        }


def _damaged(content: bytes, rng: Random) -> bytes:
    """Bytes of which some are changed, missing, zero or there twice."""
    found, at, count = bytearray(content), rng.randrange(len(content)), rng.choice((1, 4, 8, 64))
    match rng.randrange(5):
        case 0:
            found[at] ^= 1 << rng.randrange(8)
        case 1:
            del found[at : rng.choice((at + count, len(found)))]
        case 2:
            found[at : at + count] = bytes(len(found[at : at + count]))
        case 3:
            found[at:at] = found[at : at + count]
        case _:
            found[at : at + 4] = rng.choice((2**31 - 1, 2**32 - 1, 2**30)).to_bytes(4, "little")
    return bytes(found)


def _spoilt(value: Any, rng: Random) -> Any:
    """JSON in which something, anywhere, is another thing, or missing."""
    if isinstance(value, dict | list) and value and rng.random() < 0.9:
        key = rng.choice([*value] if isinstance(value, dict) else range(len(value)))
        changed = value.copy()
        if rng.random() < 0.2:
            del changed[key]
        else:
            changed[key] = _spoilt(value[key], rng)
        return changed
    return rng.choice(_ODD)


def _json(content: bytes, rng: Random) -> bytes:
    """A JSON file spoilt in its bytes, in its content, or nested more deeply than anybody reads."""
    if rng.random() < 0.1:
        return b'{"a":' * 100_000 if rng.random() < 0.5 else b"[" * 900 + b"]" * 900
    return _damaged(content, rng) if rng.random() < 0.5 else json.dumps(_spoilt(json.loads(content), rng)).encode()


def squad(sound: Sound, folder: Path, rng: Random) -> Input:
    (folder / "a.json").write_bytes(_json(sound.squad, rng))
    return Input(lambda: list(read_squad(folder / "a.json")))


def jsonl(sound: Sound, folder: Path, rng: Random) -> Input:
    lines = [{"id": e.id, "question": e.question, "context": e.context} for e in sound.examples[:5]]
    lines[2] = _spoilt(lines[2], rng)
    content = "\n".join(map(json.dumps, lines)).encode()
    (folder / "a.jsonl").write_bytes(_damaged(content, rng) if rng.random() < 0.5 else content)
    return Input(lambda: list(read_squad(folder / "a.jsonl")))


def arrow(sound: Sound, folder: Path, rng: Random) -> Input:
    (folder / "a.arrow").write_bytes(_damaged(sound.arrow, rng))
    return Input(lambda: list(read_squad(folder / "a.arrow")), sound=sound.examples)


def config(sound: Sound, folder: Path, rng: Random) -> Input:
    changed, is_wrong = sound.config, rng.random() < 0.5
    changed = {**changed, rng.choice(_SIZES): rng.choice(_NO_SIZES)} if is_wrong else _spoilt(changed, rng)
    (folder / "config.json").write_text(json.dumps(changed))
    save_file(sound.tensors, folder / "model.safetensors")
    return Input(lambda: load_pretrained(folder), is_wrong)


def weights(sound: Sound, folder: Path, rng: Random) -> Input:
    (folder / "config.json").write_text(json.dumps(sound.config))
    path, tensors, name = folder / "model.safetensors", dict(sound.tensors), rng.choice([*sound.tensors])
    kind = rng.choice(("nan", "integers", "shape", "missing", "bytes"))
    if kind == "missing":
        del tensors[name]
    elif kind != "bytes":
        spoil = {
            "nan": lambda a: a * np.float32(np.nan),
            "integers": lambda a: a.astype(np.int8),
            "shape": lambda a: a[:-1],
        }
        tensors[name] = np.ascontiguousarray(spoil[kind](tensors[name]))
    save_file(tensors, path)
    if kind == "bytes":
        content = path.read_bytes()
        header = 8 + int.from_bytes(content[:8], "little")
        path.write_bytes(_damaged(content[:header], rng) + content[header:])
    # without its head, a model gets a fresh one
    return Input(lambda: load_pretrained(folder), kind != "bytes" and (kind != "missing" or "qa_outputs" not in name))


def index(sound: Sound, folder: Path, rng: Random) -> Input:
    (folder / "config.json").write_text(json.dumps(sound.config))
    shard = rng.choice(
        ("../s.safetensors", str(sound.model / "model.safetensors"), "..", "link", "missing", "", "a/b", 7)
    )
    (folder / "link").symlink_to(sound.model / "model.safetensors")
    content = {"weight_map": dict.fromkeys(sound.tensors, shard)}
    (folder / "model.safetensors.index.json").write_text(json.dumps(content))
    return Input(lambda: load_pretrained(folder), is_wrong=True)


def msgpack(sound: Sound, folder: Path, rng: Random) -> Input:
    (folder / "config.json").write_text(json.dumps(sound.config))
    bomb = b"\xdd\x7f\xff\xff\xff" * rng.choice((1, 1000))  # arrays that claim two thousand million things
    is_wrong = rng.random() < 0.3
    (folder / "flax_model.msgpack").write_bytes(bomb if is_wrong else _damaged(sound.msgpack, rng))
    return Input(lambda: load_pretrained(folder), is_wrong)


def orbax(sound: Sound, folder: Path, rng: Random) -> Input:
    (folder / "config.json").write_text(json.dumps(sound.config))
    spoilt = rng.choice([*sound.orbax])
    for name, content in sound.orbax.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(_damaged(content, rng) if name == spoilt and content else content)
    return Input(lambda: load_pretrained(folder))


def tokenizer(sound: Sound, folder: Path, rng: Random) -> Input:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).write_bytes((sound.model / name).read_bytes())
    path, is_wrong = folder / "tokenizer.json", rng.random() < 0.5
    if is_wrong:
        content = json.loads(path.read_text())
        token = rng.choice([*content["model"]["vocab"]][10:])
        content["model"]["vocab"][token] = rng.choice((7, 10**6, 2**31, 2**32, 2**70, -1, 1.5, "x", None))
        path.write_text(json.dumps(content))
    else:
        path = folder / rng.choice(("tokenizer.json", "tokenizer_config.json"))
        path.write_bytes(_json(path.read_bytes(), rng))
    return Input(lambda: check_ids_fit("m", load_tokenizer(folder), sound.config["vocab_size"]), is_wrong)


def glove(_: Sound, folder: Path, rng: Random) -> Input:
    lines = [f"word{i} {i}.5 1e-3 -2" for i in range(20)]
    is_wrong = rng.random() < 0.5
    if is_wrong:
        lines[rng.randrange(20)] = rng.choice(("w nan 1 2", "w 1 2", "w 1 2 inf", "w 1 2 1e99", "w", "0" * 200_000))
    content = "\n".join(lines).encode()
    (folder / "v.txt").write_bytes(content if is_wrong else _damaged(content, rng))
    return Input(lambda: load_glove(folder / "v.txt", folder / "cache"), is_wrong)


def predictions(sound: Sound, folder: Path, rng: Random) -> Input:
    (folder / "data.json").write_bytes(sound.squad)
    said = json.dumps({example.id: "x" for example in sound.examples}).encode()
    (folder / "said.json").write_bytes(_json(said, rng))
    return Input(lambda: score_predictions(str(folder / "data.json"), folder / "said.json"))


def command_line(_: Sound, folder: Path, rng: Random) -> Input:
    flag, value = rng.choice(_FIGURES), rng.choice(_IMPOSSIBLE)
    command = ["quickstart", flag, value, "--output", str(folder / "run")]
    is_huge = value == "99999999999999" or (flag, value) == ("--max-seconds", "1e300")  # and may be meant
    return Input(lambda: parse(command), is_wrong=not is_huge)


KINDS: dict[str, Callable[[Sound, Path, Random], Input]] = {
    made.__name__: made
    for made in (
        *(squad, jsonl, arrow, config, weights, index, msgpack, orbax, tokenizer, glove, predictions, command_line),
    )
}

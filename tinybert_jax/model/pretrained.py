"""transformers checkpoint ⇄ parameters.

Reading goes source → (name, array) pairs → the family's table of names → our tree, and every way in which the result
differs from the tree that the config promises is reported at once.
"""

import warnings
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from tinybert_jax.errors import UserError
from tinybert_jax.hub import locate
from tinybert_jax.model.bert import BertForMaskedLM, BertForQuestionAnswering, init_params
from tinybert_jax.model.checkpoint_files import read_tensors
from tinybert_jax.model.config import BertConfig
from tinybert_jax.model.names import TreePath, is_elsewhere, is_transposed, places, stored_name
from tinybert_jax.store.files import atomic_path, read_json, write_json

Head = Literal["question-answering", "masked-lm"]
_Tree = dict[TreePath, np.ndarray]

_MODELS = {"question-answering": BertForQuestionAnswering, "masked-lm": BertForMaskedLM}
_HEADS = {"question-answering": "qa_outputs", "masked-lm": "cls"}
_KINDS = {"question-answering": "ForQuestionAnswering", "masked-lm": "ForMaskedLM"}


class MissingHeadWarning(UserWarning):
    """The checkpoint has no such head: a fresh one was initialised."""


def load_pretrained(
    name_or_path: str | Path, *, head: Head = "question-answering", seed: int = 0
) -> tuple[BertConfig, dict[str, Any]]:
    """Loads a BERT or a RoBERTa from a transformers checkpoint.

    Args:
        name_or_path: a hub id, or a folder with `config.json` and one of `model.safetensors`, a sharded
            safetensors index, `flax_model.msgpack`, `pytorch_model.bin` (extra `torch`), or an orbax folder of ours.
        head: which head to load beside the encoder; "masked-lm" for a BERT alone.
        seed: initialises the head where the checkpoint has none; a warning then names it.

    Returns:
        The config, and float32 parameters `{"bert": …, "qa_outputs": …}` (or `"cls"`) as numpy arrays.

    Raises:
        UserError: nothing there, unreadable, neither a BERT nor a RoBERTa, a head that is not supported, or tensors
            unexpected, missing or misshapen: all listed.
    """
    folder = locate(name_or_path)
    config = load_config(folder)
    expected = _shapes(config, head)
    found = _to_tree(read_tensors(folder), config.model_type, expected, _HEADS[head])
    if not any(path[0] == _HEADS[head] for path in found):  # a fresh head is what fine-tuning starts from
        fresh = _fresh_head(config, head, seed)
        names = ", ".join(sorted(".".join(path) for path in fresh))
        message = f"{name_or_path} has no {head} head: {names} start at random (seed {seed})"
        warnings.warn(message, MissingHeadWarning, stacklevel=2)
        found |= fresh
    _check(name_or_path, expected, found)
    return config, unflatten_dict({path: found[path] for path in expected})


def load_trained(name_or_path: str | Path, head: Head, complaint: str) -> tuple[BertConfig, dict[str, Any]]:
    """`load_pretrained` of a checkpoint that must hold the head: a fresh one would answer noise.

    Raises:
        UserError: as `load_pretrained`; or, with the name and the `complaint`, there is no such head.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("error", MissingHeadWarning)
        try:
            return load_pretrained(name_or_path, head=head)
        except MissingHeadWarning as warning:
            raise UserError(f"{name_or_path} {complaint}") from warning


class Model(NamedTuple):
    """A question-answering BERT."""

    config: BertConfig
    params: dict[str, Any]

    @property
    def network(self) -> BertForQuestionAnswering:
        """The module that `params` belong to."""
        return BertForQuestionAnswering(self.config)


def load_qa_model(name_or_path: str) -> Model:
    """Loads a model that must have a trained question-answering head.

    Raises:
        UserError: as `load_pretrained`, or there is no such head.
    """
    complaint = (
        "is an encoder without a question-answering head: fine-tune it first "
        "(python train.py finetune-teacher --student …)"
    )
    return Model(*load_trained(name_or_path, "question-answering", complaint))


def load_config(folder: str | Path) -> BertConfig:
    """Reads a folder's `config.json`; a warning names keys that are unknown.

    Raises:
        UserError: missing, not JSON, or not a model this project can hold.
    """
    path = Path(folder) / "config.json"
    content = read_json(path)
    if not isinstance(content, dict):
        raise UserError(f"{path} must hold a JSON object, got {type(content).__name__}")
    if unknown := BertConfig.unknown_keys(content):
        warnings.warn(f"{path} has keys that are unknown here, and passed over: {', '.join(unknown)}", stacklevel=2)
    try:
        return BertConfig.from_transformers(content)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error


def save_pretrained(
    folder: str | Path, config: BertConfig, params: Mapping[str, Any], tokenizer: Any | None = None
) -> None:
    """Writes a folder that transformers' `from_pretrained` loads with no key missing or unexpected.

    Args:
        folder: created, or replaced as a whole once everything is written.
        config: the model's shape.
        params: as `load_pretrained` returns them; stored as float32.
        tokenizer: a transformers tokenizer, saved beside the weights when given.

    Raises:
        UserError: the parameters are not those of `config`.
    """
    from safetensors.numpy import save_file

    head: Head = "masked-lm" if "cls" in params else "question-answering"
    found = {path: np.asarray(jax.device_get(leaf), np.float32) for path, leaf in flatten_dict(params).items()}
    _check("the given parameters", _shapes(config, head), found)
    with atomic_path(folder) as temporary:
        temporary.mkdir()
        write_json(temporary / "config.json", config.to_transformers(_KINDS[head]))
        if tokenizer is not None:
            tokenizer.save_pretrained(str(temporary))
        # safetensors stores the buffer as it lies in memory: a transposed view would be written scrambled.
        tensors = {
            stored_name(config.model_type, path): np.ascontiguousarray(array.T if is_transposed(path) else array)
            for path, array in found.items()
        }
        save_file(tensors, temporary / "model.safetensors", metadata={"format": "pt"})


def _shapes(config: BertConfig, head: Head) -> Mapping[TreePath, Any]:
    """What the config promises, as shapes: nothing is computed."""
    if head == "masked-lm" and config.model_type != "bert":
        raise UserError(
            f"the masked-lm head is supported for BERT alone, got model_type {config.model_type!r}: "
            "use the question-answering head"
        )
    return flatten_dict(jax.eval_shape(partial(init_params, _MODELS[head](config)), jax.random.key(0)))


def _fresh_head(config: BertConfig, head: Head, seed: int) -> _Tree:
    # under jit, the encoder's random numbers, which nobody reads, are not drawn
    initialise = jax.jit(lambda key: init_params(_MODELS[head](config), key)[_HEADS[head]])
    leaves = flatten_dict({_HEADS[head]: initialise(jax.random.key(seed))})
    return {path: np.asarray(leaf) for path, leaf in leaves.items()}


def _to_tree(tensors: Iterable[tuple[str, np.ndarray]], family: str, expected: Iterable[TreePath], head: str) -> _Tree:
    """The tensors by their place in our tree; other heads' are passed over, and unknown ones keep their name."""
    known = places(family, expected)
    found: _Tree = {}
    for name, array in tensors:
        if name not in known and is_elsewhere(family, name, head):
            continue
        path, transposed = known.get(name, ((name,), False))
        if path in found:
            raise UserError(f"the checkpoint holds {'.'.join(path)} twice, the second time as {name!r}")
        found[path] = np.asarray(array.T if transposed else array, np.float32, order="C")
    return found


def _check(source: object, expected: Mapping[TreePath, Any], found: Mapping[TreePath, Any]) -> None:
    """Raises one error with every difference between the two trees."""
    describe: Callable[[TreePath], str] = ".".join
    lines = [f"  unexpected  {describe(p)}, shape {found[p].shape}" for p in sorted(found.keys() - expected.keys())]
    lines += [f"  missing     {describe(p)}, shape {expected[p].shape}" for p in sorted(expected.keys() - found.keys())]
    lines += [
        f"  misshapen   {describe(p)}: config.json says {expected[p].shape}, the tensor is {found[p].shape}"
        for p in sorted(expected.keys() & found.keys())
        if expected[p].shape != found[p].shape
    ]
    if lines:
        raise UserError(f"{source} does not hold the model that its config promises:\n" + "\n".join(lines))

"""transformers checkpoint ⇄ parameters.

Reading goes source → (name, array) pairs → the family's table of names → our tree, and every way in which the result
differs from the tree that the config promises is reported at once.
"""

import warnings
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from tinybert_jax.errors import UserError, room
from tinybert_jax.hub import locate
from tinybert_jax.model.bert import BertForQuestionAnswering
from tinybert_jax.model.checkpoint_files import read_tensors
from tinybert_jax.model.config import BertConfig
from tinybert_jax.model.names import TreePath, is_transposed, stored_name
from tinybert_jax.model.tree import ROOTS, Head, assemble, check_tree, fresh_head, heads_of, shapes
from tinybert_jax.store.files import atomic_path, read_json, write_json

_KINDS = {"qa_outputs": "ForQuestionAnswering", "cls": "ForMaskedLM", "bert": "Model"}  # by what the tree holds


class MissingHeadWarning(UserWarning):
    """The checkpoint has no such head: a fresh one was initialised."""


def load_pretrained(
    name_or_path: str | Path, *, head: Head = "question-answering", seed: int = 0, allow_non_finite: bool = False
) -> tuple[BertConfig, dict[str, Any]]:
    """Loads an encoder of one of the families (`families.py`) and a head from a transformers checkpoint.

    Args:
        name_or_path: a hub id, "owner/name" or "owner/name@revision", or a folder with `config.json` and one of
            `model.safetensors`, `flax_model.msgpack`, `pytorch_model.bin` (extra `torch`), the index of either's
            shards, or an orbax folder of ours.
        head: which head to load beside the encoder; only a BERT can have "masked-lm".
        seed: initialises the head where the checkpoint has none; a warning then names it.
        allow_non_finite: accepts NaN and infinities among the weights, for research; a warning names each tensor.

    Returns:
        The config, and float32 parameters `{"bert": …, "qa_outputs": …}` (or `"cls"`) as numpy arrays.

    Raises:
        UserError: nothing there, unreadable, another architecture, a head that is not supported, weights that are no
            finite numbers, or tensors unexpected, missing or misshapen: all listed.
    """
    folder = locate(name_or_path)
    config = load_config(folder)
    found, _ = assemble(read_tensors(folder), config, [head], allow_non_finite)
    expected = shapes(config, head)
    if not any(path[0] == ROOTS[head] for path in found):  # a fresh head is what fine-tuning starts from
        # as large as config.json says, so not before that is compared with the weights
        check_tree(name_or_path, {path: leaf for path, leaf in expected.items() if path[0] != ROOTS[head]}, found)
        fresh = fresh_head(config, head, seed)
        names = ", ".join(sorted(".".join(path) for path in fresh))
        message = f"{name_or_path} has no {head} head: {names} start at random (seed {seed})"
        warnings.warn(message, MissingHeadWarning, stacklevel=2)
        found |= fresh
    check_tree(name_or_path, expected, found)
    return config, unflatten_dict({path: found[path] for path in expected})


class Stored(NamedTuple):
    """What a checkpoint holds.

    Attributes:
        config: its shape.
        params: the encoder, and the head that it has: `{"bert": …}`, with "qa_outputs" or else "cls" where stored.
        left_out: names of stored tensors that belong to other heads.
    """

    config: BertConfig
    params: dict[str, Any]
    left_out: list[str]


def load_stored(name_or_path: str | Path, *, allow_non_finite: bool = False) -> Stored:
    """Loads what a checkpoint holds, and adds nothing: its encoder, and its span head or else its masked-LM head.

    Args:
        name_or_path: as in `load_pretrained`.
        allow_non_finite: likewise.

    Raises:
        UserError: as `load_pretrained`.
    """
    folder = locate(name_or_path)
    config = load_config(folder)
    heads = heads_of(config)
    found, left_out = assemble(read_tensors(folder), config, heads, allow_non_finite)
    held: list[Head] = [head for head in heads if any(path[0] == ROOTS[head] for path in found)]
    others = {ROOTS[head] for head in held[1:]}
    left_out += [stored_name(config.model_type, path) for path in found if path[0] in others]
    found = {path: leaf for path, leaf in found.items() if path[0] not in others}
    expected = _shapes_of(config, {path[0] for path in found})
    check_tree(name_or_path, expected, found)
    return Stored(config, unflatten_dict({path: found[path] for path in expected}), left_out)


def load_trained(
    name_or_path: str | Path, head: Head, complaint: str, *, allow_non_finite: bool = False
) -> tuple[BertConfig, dict[str, Any]]:
    """`load_pretrained` of a checkpoint that must hold the head: a fresh one would answer noise.

    Raises:
        UserError: as `load_pretrained`; or, with the name and the `complaint`, there is no such head.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("error", MissingHeadWarning)
        try:
            return load_pretrained(name_or_path, head=head, allow_non_finite=allow_non_finite)
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


def load_qa_model(name_or_path: str, *, allow_non_finite: bool = False) -> Model:
    """Loads a model that must have a trained question-answering head; arguments as in `load_pretrained`.

    Raises:
        UserError: as `load_pretrained`, or there is no such head.
    """
    complaint = (
        "is an encoder without a question-answering head: fine-tune it first "
        "(python train.py finetune-teacher --student …)"
    )
    return Model(*load_trained(name_or_path, "question-answering", complaint, allow_non_finite=allow_non_finite))


def load_config(folder: str | Path) -> BertConfig:
    """Reads a folder's `config.json`; a warning names keys that are unknown.

    Raises:
        UserError: missing, not JSON, or not a model this project can hold.
    """
    path = Path(folder) / "config.json"
    content = read_json(path)
    if not isinstance(content, dict):
        raise UserError(f"{path} must hold a JSON object, got {type(content).__name__}")
    try:
        config = BertConfig.from_transformers(content)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    if unknown := BertConfig.unknown_keys(content):
        warnings.warn(f"{path} has keys that are unknown here, and passed over: {', '.join(unknown)}", stacklevel=2)
    return config


def save_pretrained(
    folder: str | Path, config: BertConfig, params: Mapping[str, Any], tokenizer: Any | None = None
) -> None:
    """Writes a folder that transformers' `from_pretrained` loads with no key missing or unexpected.

    Args:
        folder: created, or replaced as a whole once everything is written.
        config: the model's shape.
        params: as `load_pretrained` or `load_stored` returns them; stored as float32.
        tokenizer: a transformers tokenizer, saved beside the weights when given. Its `model_max_length` becomes at most
            what the position table holds, so that transformers truncates; nothing else of it changes.

    Raises:
        UserError: the parameters are not those of `config`.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    found = {path: np.asarray(jax.device_get(leaf), np.float32) for path, leaf in flatten_dict(params).items()}
    check_tree("the given parameters", _shapes_of(config, params), found)
    with atomic_path(folder) as temporary:
        temporary.mkdir()
        write_json(temporary / "config.json", config.to_transformers(kind_of(params)))
        if tokenizer is not None:
            tokenizer.save_pretrained(str(temporary))
            _limit_length(temporary / "tokenizer_config.json", config.max_positions)
        # safetensors stores the buffer as it lies in memory: a transposed view would be written scrambled.
        tensors = {
            stored_name(config.model_type, path): np.ascontiguousarray(array.T if is_transposed(path) else array)
            for path, array in found.items()
        }
        try:
            save_file(tensors, temporary / "model.safetensors", metadata={"format": "pt"})
        except SafetensorError as error:  # as it calls all that the operating system refuses
            raise OSError(f"cannot write {folder}, with {room(Path(folder))} free there: {error}") from error


def _limit_length(path: Path, positions: int) -> None:
    """Lowers "model_max_length" in a tokenizer_config.json; beyond the position table transformers would fail."""
    options = read_json(path) if path.exists() else {}
    given = options.get("model_max_length")
    if not isinstance(given, int | float) or given > positions:
        write_json(path, {**options, "model_max_length": positions})


def kind_of(params: Collection[str]) -> str:
    """The end of the name of transformers' class that holds such parameters: "ForMaskedLM", say."""
    return next(kind for root, kind in _KINDS.items() if root in params or root == "bert")


def _shapes_of(config: BertConfig, roots: Collection[str]) -> Mapping[TreePath, Any]:
    """The shapes of an encoder with the heads among `roots`."""
    head: Head = "masked-lm" if "cls" in roots else "question-answering"
    return {path: leaf for path, leaf in shapes(config, head).items() if path[0] in ("bert", *roots)}

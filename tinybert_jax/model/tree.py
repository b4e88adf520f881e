"""A checkpoint's tensors as our parameter tree, and every way in which the two can differ.

A checkpoint holds an encoder and at most some of the heads; a tree, the encoder and the heads that are asked for.
"""

import warnings
from collections.abc import Callable, Iterable, Mapping
from functools import cache, partial
from typing import Any, Literal, NamedTuple

import jax
import numpy as np
from flax.traverse_util import flatten_dict

from tinybert_jax.errors import UserError
from tinybert_jax.model.bert import BertForQuestionAnswering, init_params
from tinybert_jax.model.config import BertConfig
from tinybert_jax.model.masked_lm import BertForMaskedLM
from tinybert_jax.model.names import TreePath, is_derived, is_elsewhere, places

Head = Literal["question-answering", "masked-lm"]
Tree = dict[TreePath, np.ndarray]

NETWORKS = {"question-answering": BertForQuestionAnswering, "masked-lm": BertForMaskedLM}
ROOTS: dict[Head, str] = {"question-answering": "qa_outputs", "masked-lm": "cls"}
_FLOATS = ("float16", "bfloat16", "float32", "float64")
_WRAPPER = "module."  # what torch's DataParallel puts before every name
_WORDS: TreePath = ("bert", "embeddings", "word_embeddings", "embedding")


def heads_of(config: BertConfig) -> tuple[Head, ...]:
    """The heads that a network of this family can have here."""
    return ("question-answering", "masked-lm") if config.model_type == "bert" else ("question-answering",)


@cache
def shapes(config: BertConfig, head: Head) -> Mapping[TreePath, Any]:
    """What the config promises of the encoder and a head, as shapes: nothing is computed, but the network is traced.

    Raises:
        UserError: the family cannot have this head here.
    """
    if head not in heads_of(config):
        raise UserError(
            f"the {head} head is supported only for BERT, got model_type {config.model_type!r}: "
            "use the question-answering head"
        )
    return flatten_dict(jax.eval_shape(partial(init_params, NETWORKS[head](config)), jax.random.key(0)))


def fresh_head(config: BertConfig, head: Head, seed: int) -> Tree:
    """A head at BERT's initialisation."""
    # under jit, the encoder's random numbers, which nobody reads, are not drawn
    initialise = jax.jit(lambda key: init_params(NETWORKS[head](config), key)[ROOTS[head]])
    leaves = flatten_dict({ROOTS[head]: initialise(jax.random.key(seed))})
    return {path: np.asarray(leaf) for path, leaf in leaves.items()}


class Assembled(NamedTuple):
    """What became of a checkpoint's tensors.

    Attributes:
        found: those of the encoder and the heads asked for, float32; unknown ones under their stored name.
        left_out: names of those that belong to other heads.
    """

    found: Tree
    left_out: list[str]


def assemble(
    tensors: Iterable[tuple[str, np.ndarray]], config: BertConfig, heads: Iterable[Head], allow_non_finite: bool
) -> Assembled:
    """Puts every tensor in its place.

    Raises:
        UserError: two tensors for one place, integers where a parameter belongs, numbers that are not finite unless
            these are allowed, or a masked-LM head whose output layer is not the word embeddings.
    """
    family, roots = config.model_type, tuple(ROOTS[head] for head in heads)
    known = places(family, dict.fromkeys(path for head in heads for path in shapes(config, head)))
    found: Tree = {}
    derived: dict[str, np.ndarray] = {}
    left_out, wrapped = [], False
    for stored_name, array in tensors:
        name = stored_name.removeprefix(_WRAPPER)
        wrapped |= name != stored_name
        if name not in known and is_derived(name):
            derived[name] = array
        elif name not in known and is_elsewhere(family, name, roots):
            left_out.append(name)
        else:
            path, transposed = known.get(name, ((name,), False))
            if path in found:
                raise UserError(f"the checkpoint holds {'.'.join(path)} twice, the second time as {stored_name!r}")
            found[path] = _floats(stored_name, array.T if transposed else array)
            _check_finite(stored_name, found[path], allow_non_finite)
    if wrapped:
        warnings.warn(f"the checkpoint's names begin with {_WRAPPER!r}: read without it", stacklevel=3)
    if any(path[0] == "cls" for path in found):
        _check_tied(found, derived)
    return Assembled(found, left_out)


def _floats(name: str, array: np.ndarray) -> np.ndarray:
    """A tensor as float32 in C order; others than floating-point numbers are refused by its name."""
    if array.dtype.name not in _FLOATS:
        raise UserError(
            f"{name} must hold floating-point numbers ({', '.join(_FLOATS)}), got {array.dtype.name}: quantised "
            "weights mean nothing without their scales, so give the checkpoint that they were made from"
        )
    return np.asarray(array, np.float32, order="C")


def _check_finite(name: str, floats: np.ndarray, allowed: bool) -> None:
    """Refuses a tensor that is not finite, by its name; where that is allowed, a warning names it."""
    bad = floats[~np.isfinite(floats)]
    if not bad.size:
        return
    if not allowed:
        raise UserError(
            f"{name} must hold finite numbers, got {bad[0]} among its {floats.size}: give a sound checkpoint "
            "(`evaluate` and `convert` take --allow-non-finite, to look into one that is not)"
        )
    warnings.warn(f"{name} holds {bad.size} numbers that are not finite among its {floats.size}", stacklevel=4)


def _check_tied(found: Tree, derived: Mapping[str, np.ndarray]) -> None:
    """The masked-LM head here multiplies by the word embeddings; a stored output layer must be a copy of them."""
    decoder = "cls.predictions.decoder"
    copies = {"weight": _WORDS, "kernel": _WORDS, "bias": ("cls", "predictions", "bias")}
    for leaf, path in copies.items():
        stored = derived.get(f"{decoder}.{leaf}")
        if stored is None or path not in found:
            continue
        if not np.array_equal(stored.T if leaf == "kernel" else stored, found[path], equal_nan=True):
            raise UserError(
                f"{decoder}.{leaf} must equal {'.'.join(path)}, got other numbers: a masked-LM head of its own "
                "(tie_word_embeddings = false) cannot be held"
            )


def check_tree(source: object, expected: Mapping[TreePath, Any], found: Mapping[TreePath, Any]) -> None:
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

"""A vocabulary trimmed to the tokens that some data uses, and the tokenizer of it.

Every text that needs no token left out becomes the same tokens as before. WordPiece takes the longest piece that fits:
of fewer pieces it is the same one, as long as that one is kept. A byte-level BPE puts pieces together in the order of
its merges: the merges that lead to a kept token are kept with it, and none of the others made a difference.
"""

import json
import tempfile
import warnings
from collections import defaultdict
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tinybert_jax.data.tokenizer import bare_backend, load_tokenizer
from tinybert_jax.data.windows import Windows
from tinybert_jax.errors import UserError
from tinybert_jax.store.files import read_json, write_json

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

_REST = ("vocab.txt", "vocab.json", "merges.txt", "added_tokens.json")  # what tokenizer.json says too
_BLOCK = 1 << 22  # tokens looked at together


class Trimmed(NamedTuple):
    """A tokenizer of fewer tokens, and which they are.

    Attributes:
        tokenizer: of kind and options as before; a token's id is its place in `kept`.
        kept: the ids that its tokens had before, ascending: (V,) int64.
    """

    tokenizer: "PreTrainedTokenizerFast"
    kept: np.ndarray


def used_tokens(windows: Windows) -> set[int]:
    """The ids that windows are made of, which may be memory-mapped and larger than memory."""
    blocks = range(0, len(windows.tokens), _BLOCK)
    return {id_ for begin in blocks for id_ in np.unique(windows.tokens[begin : begin + _BLOCK]).tolist()}


def trim_tokenizer(tokenizer: "PreTrainedTokenizerFast", used: Iterable[int]) -> Trimmed:
    """Leaves out what no text needs.

    Kept are the tokens in use, special and added ones, and all single characters (bytes of a BPE) at the beginning and
    within a word, so that other texts become shorter pieces and not unknown. A piece of WordPiece's with a character
    that the vocabulary does not hold by itself is kept for that reason.

    Args:
        tokenizer: a WordPiece or a byte-level BPE.
        used: ids that stay; numbers of no token, rows of a model that it needs, among them.

    Raises:
        UserError: a tokenizer of another kind.
    """
    content = json.loads(bare_backend(tokenizer).to_str())
    content, kept = trim_pipeline(content, {*map(int, used), *tokenizer.all_special_ids})
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tokenizer.save_pretrained(name)
        for rest in _REST:
            (folder / rest).unlink(missing_ok=True)
        write_json(folder / "tokenizer.json", content)
        _renumber_config(folder / "tokenizer_config.json", kept)
        with warnings.catch_warnings():  # whatever there is to be said of the vocabulary was said of the whole one
            warnings.simplefilter("ignore")
            return Trimmed(load_tokenizer(folder), kept)


def trim_pipeline(content: dict[str, Any], used: Collection[int]) -> tuple[dict[str, Any], np.ndarray]:
    """`trim_tokenizer` of a tokenizer.json's content, and of ids.

    Returns:
        The trimmed content, and the former ids.

    Raises:
        UserError: as `trim_tokenizer`.
    """
    model = content["model"]
    vocabulary: dict[str, int] = model["vocab"] if isinstance(model["vocab"], dict) else {}
    ids = {*used, *(token["id"] for token in content["added_tokens"])}
    pieces = {piece for piece, id_ in vocabulary.items() if id_ in ids} | {model.get("unk_token")} & vocabulary.keys()
    if model["type"] == "WordPiece":
        pieces |= _short_pieces(vocabulary, model["continuing_subword_prefix"])
        rest = {}
    elif model["type"] == "BPE":
        pieces |= {piece for piece in vocabulary if len(piece) == 1}
        merges = [tuple(merge.split(" ")) if isinstance(merge, str) else tuple(merge) for merge in model["merges"]]
        pieces |= _parts(pieces, merges)
        rest = {"merges": [merge for merge in merges if "".join(merge) in pieces]}
    else:
        raise UserError(
            f"only a WordPiece or a byte-level BPE vocabulary can be trimmed, got {model['type']}: leave "
            "trim_vocabulary out"
        )
    kept = np.array(sorted(ids | {vocabulary[piece] for piece in pieces}))
    new = {int(old): number for number, old in enumerate(kept)}
    trimmed = {piece: new[id_] for piece, id_ in vocabulary.items() if piece in pieces}
    added = [token | {"id": new[token["id"]]} for token in content["added_tokens"]]
    processor = _renumbered(content["post_processor"], new)
    changed = {"model": model | {"vocab": trimmed} | rest, "added_tokens": added, "post_processor": processor}
    return content | changed, kept


def _short_pieces(vocabulary: Collection[str], prefix: str) -> set[str]:
    """Single characters, and the pieces that single characters could not replace."""

    def characters(piece: str) -> list[str]:
        first, *others = piece.removeprefix(prefix)
        return [prefix + first if piece.startswith(prefix) else first, *(prefix + other for other in others)]

    spelt = {piece: characters(piece) for piece in vocabulary if piece.removeprefix(prefix)}
    return {piece for piece, parts in spelt.items() if len(parts) == 1 or not all(part in vocabulary for part in parts)}


def _parts(pieces: Iterable[str], merges: Iterable[tuple[str, ...]]) -> set[str]:
    """All that is merged on the way to some pieces, by any of the ways that lead there."""
    made_of = defaultdict(set)
    for merge in merges:
        made_of["".join(merge)].update(merge)
    found, waiting = set(), list(pieces)
    while waiting:
        new = made_of[waiting.pop()] - found
        found |= new
        waiting += new
    return found


def _renumbered(processor: Any, new: dict[int, int]) -> Any:
    """A post-processor, or a part of one, with the ids of the special tokens that it adds replaced."""
    if isinstance(processor, list):
        # BertProcessing and RobertaProcessing: ["[SEP]", 102].
        if len(processor) == 2 and isinstance(processor[0], str) and isinstance(processor[1], int):
            return [processor[0], new[processor[1]]]
        return [_renumbered(part, new) for part in processor]
    if isinstance(processor, dict):
        return {
            key: [new[id_] for id_ in value] if key == "ids" else _renumbered(value, new)
            for key, value in processor.items()
        }
    return processor


def _renumber_config(path: Path, kept: np.ndarray) -> None:
    """Files of the first years list the added tokens by their ids in tokenizer_config.json as well."""
    options = read_json(path) if path.exists() else {}
    if "added_tokens_decoder" in options:
        new = {str(old): str(number) for number, old in enumerate(kept)}
        listed = options["added_tokens_decoder"].items()
        write_json(path, options | {"added_tokens_decoder": {new[id_]: token for id_, token in listed if id_ in new}})

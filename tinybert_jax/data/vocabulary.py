"""A vocabulary trimmed to the tokens that some data uses, and the tokenizer of it.

Every text that needs no token left out becomes the same tokens as before. WordPiece takes the longest piece that fits:
of fewer pieces it is the same one, as long as that one is kept. A byte-level BPE puts pieces together in the order of
its merges: the merges that lead to a kept token are kept with it, and none of the others made a difference. A unigram
model takes the likeliest pieces: as long as these are kept, what is left out had lost to them.
"""

import json
import re
import tempfile
import warnings
from collections import defaultdict
from collections.abc import Collection, Iterable
from operator import itemgetter
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
_BYTE = re.compile(r"<0x[0-9A-F]{2}>")
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
    within a word, so that other texts become shorter pieces and not unknown. A piece with a character that the
    vocabulary does not hold by itself is kept for that reason.

    Args:
        tokenizer: a WordPiece, a byte-level BPE or a unigram model.
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
    stored = model["vocab"]
    is_list = isinstance(stored, list)  # a unigram's: pairs of a piece and its score
    vocabulary = {piece: id_ for id_, (piece, _) in enumerate(stored)} if is_list else stored
    ids = {*used, *(token["id"] for token in content["added_tokens"])}
    pieces = {piece for piece, id_ in vocabulary.items() if id_ in ids}
    more, rest = _needed(model, vocabulary, pieces)
    kept = np.array(sorted(ids | {vocabulary[piece] for piece in pieces | more}))
    new = {int(old): number for number, old in enumerate(kept)}
    if is_list:
        rest = {"vocab": [pair for id_, pair in enumerate(stored) if id_ in new], "unk_id": new[model["unk_id"]]}
    else:
        rest["vocab"] = {piece: new[id_] for piece, id_ in vocabulary.items() if id_ in new}
    added = [token | {"id": new[token["id"]]} for token in content["added_tokens"]]
    processor = _renumbered(content["post_processor"], new)
    return content | {"model": model | rest, "added_tokens": added, "post_processor": processor}, kept


def _needed(model: dict[str, Any], vocabulary: dict[str, int], pieces: set[str]) -> tuple[set[str], dict[str, Any]]:
    """What is kept beside some pieces, and a BPE's merges."""
    match model["type"]:
        case "WordPiece":
            prefix = model["continuing_subword_prefix"]
            return _short_pieces(vocabulary, prefix) | {model["unk_token"]} & vocabulary.keys(), {}
        case "Unigram":
            # What is unknown counts as less likely than the least likely piece.
            lowest, _ = min(model["vocab"], key=itemgetter(1))
            in_bytes = {piece for piece in vocabulary if model.get("byte_fallback") and _BYTE.fullmatch(piece)}
            unknown = {piece for piece, id_ in vocabulary.items() if id_ == model["unk_id"]}
            return _short_pieces(vocabulary, "") | {lowest} | in_bytes | unknown, {}
        case "BPE":
            more = {piece for piece in vocabulary if len(piece) == 1} | {model["unk_token"]} & vocabulary.keys()
            merges = [tuple(merge.split(" ")) if isinstance(merge, str) else tuple(merge) for merge in model["merges"]]
            more |= _parts(pieces | more, merges)
            return more, {"merges": [merge for merge in merges if "".join(merge) in pieces | more]}
    raise UserError(
        f"only a WordPiece, a byte-level BPE or a unigram vocabulary can be trimmed, got {model['type']}: leave "
        "trim_vocabulary out"
    )


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

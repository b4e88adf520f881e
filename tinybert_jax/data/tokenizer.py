"""BERT's WordPiece, RoBERTa's byte-level BPE and XLM-RoBERTa's unigram tokenizers, loaded as their files say."""

import hashlib
import json
import warnings
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinybert_jax.data.tokenizer_families import AS_IT_STANDS, BERT, UNIGRAM, TokenizerFamily, family_of
from tinybert_jax.errors import UserError
from tinybert_jax.hub import TOKENIZER_FILES, check_fetched, locate
from tinybert_jax.store.files import read_json

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast


# Options of slow tokenizers that split words otherwise, each with the values that leave BERT's pipeline as it is.
_PLAIN_OPTIONS = {
    "word_tokenizer_type": (None, "basic"),
    "subword_tokenizer_type": (None, "wordpiece"),
    "auto_map": (None, {}),
}
_PLAIN_OPTIONS_OF_A_VOCABULARY = {"do_basic_tokenize": (None, True), "never_split": (None, [])}
_PLAIN_OPTIONS_OF_A_UNIGRAM = {"add_prefix_space": (None, True)}
_NEEDED = ("cls_token", "sep_token", "pad_token", "unk_token")
_LARGEST_ID = 2**31 - 1
_MOST_UNREACHABLE = 0.05  # of a vocabulary; a few odd entries are in many


def load_tokenizer(name_or_path: str | Path) -> "PreTrainedTokenizerFast":
    """Loads the fast tokenizer of a BERT, a RoBERTa or one of their relatives from a folder or a hub id.

    A tokenizer.json's pipeline is used as it stands, and saved byte for byte. Without one, the pipeline is the
    family's, with the vocabulary of vocab.txt, or else of vocab.json and merges.txt. The family is the vocabulary's:
    one with merges is RoBERTa's, one with scores is XLM-RoBERTa's and CamemBERT's, and must come as a tokenizer.json.
    Options of tokenizer_config.json (casing and accents, a space put before every text) come before tokenizer.json's,
    as they do in transformers, and where it is silent the file's stay. The model's config.json is not needed; a
    `tokenizer_class` that it names must be one of the family's.

    A warning says so where many entries of the vocabulary can never be produced: a cased one under lower-casing.

    Raises:
        UserError: no such folder or hub model, no tokenizer files in it, a vocabulary of another kind, or a pipeline
            that does not join a question and a text as the family does.
    """
    folder = locate(name_or_path)
    for name in TOKENIZER_FILES:
        if (folder / name).is_file():
            check_fetched(folder / name)
    content = _read_object(folder / "tokenizer.json")
    options = _read_object(folder / "tokenizer_config.json") or {}
    family = family_of(name_or_path, folder, content)
    _check_options(name_or_path, folder, family, options, from_vocabulary=content is None)
    try:
        tokenizer = _built(folder, family, options) if content is None else _read(folder, family, options, content)
    except Exception as error:  # the tokenizers library raises bare Exception
        raise UserError(f"cannot load the tokenizer of {name_or_path}: {error}") from error
    vocabulary = tokenizer.backend_tokenizer.get_vocab(with_added_tokens=False)
    _check_ids(name_or_path, vocabulary)
    vocabulary |= {token["content"]: token["id"] for token in (content or {}).get("added_tokens", ())}
    missing = [getattr(tokenizer, name) or family.special[name] for name in _NEEDED]
    missing = [token for token in missing if token not in vocabulary]
    if missing:
        raise UserError(f"{name_or_path} has no {family.name} vocabulary: it lacks {', '.join(missing)}")
    _check_pairs(name_or_path, tokenizer, family)
    own = "tokenizer.json's normalizer" if content else "the default without a tokenizer_config.json"
    decided_by = "tokenizer_config.json" if options.keys() & BERT.options.keys() else own
    if family is BERT:
        _warn_of_unreachable(name_or_path, tokenizer.backend_tokenizer, decided_by)
    return tokenizer


def bare_backend(tokenizer: "PreTrainedTokenizerFast") -> "Tokenizer":
    """Returns the tokenizer's engine, freed of the truncation and padding that a tokenizer.json may carry."""
    backend = tokenizer.backend_tokenizer
    backend.no_truncation()
    backend.no_padding()
    return backend


def tokenizer_digest(tokenizer: "PreTrainedTokenizerFast") -> str:
    """A SHA-256 of all that decides which ids a text becomes."""
    return hashlib.sha256(bare_backend(tokenizer).to_str().encode()).hexdigest()


def text_rules(tokenizer: "PreTrainedTokenizerFast") -> dict[str, Any]:
    """All but the vocabulary that decides which tokens a text becomes."""
    content = json.loads(tokenizer.backend_tokenizer.to_str())
    model = {key: value for key, value in content["model"].items() if value and key != "vocab"}
    if isinstance(content["model"]["vocab"], list):
        model["scores"] = content["model"]["vocab"]
    for part in {"merges", "scores"} & model.keys():  # tens of thousands
        model[part] = hashlib.sha256(json.dumps(model[part]).encode()).hexdigest()
    added = [token for token in content["added_tokens"] if not token["special"]]
    parts = {part: content[part] for part in ("normalizer", "pre_tokenizer")}
    return {**parts, "model": model, "added_tokens": added}


def check_ids_fit(model: str, tokenizer: "PreTrainedTokenizerFast", rows: int) -> None:
    """Checks that a model has an embedding for every token: a look-up beyond the table gives NaN.

    Args:
        model: its name, for the message.
        tokenizer: what makes the ids; not their number but the largest one counts.
        rows: of the model's word embeddings.

    Raises:
        UserError: an id is beyond the table.
    """
    token, largest = max(tokenizer.get_vocab().items(), key=itemgetter(1))
    if largest >= rows:
        raise UserError(
            f"{model}: token ids must be below {rows}, the rows of the model's word embeddings (vocab_size), got "
            f"{largest} for {token!r}: take the tokenizer that the model was trained with, and look for added tokens "
            "and repeated lines in its files"
        )


def _check_ids(name_or_path: str | Path, vocabulary: dict[str, int]) -> None:
    """Every token needs an id of its own, one that arrays of 32 bits can hold."""
    owners: dict[int, str] = {}
    for token, id_ in vocabulary.items():
        if id_ in owners or id_ > _LARGEST_ID:
            other = f"the id of {owners[id_]!r} too" if id_ in owners else "which no array of ours can hold"
            raise UserError(
                f"{name_or_path}: every token needs an id of its own, of at most {_LARGEST_ID}, got {id_} for "
                f"{token!r}, {other}: correct the vocabulary"
            )
        owners[id_] = token


def _check_options(
    name_or_path: str | Path, folder: Path, family: TokenizerFamily, options: dict[str, Any], *, from_vocabulary: bool
) -> None:
    config = _read_object(folder / "config.json") or {}
    declared = options.get("tokenizer_class") or config.get("tokenizer_class")
    known = (*family.classes, *AS_IT_STANDS)
    if declared is not None and str(declared).removesuffix("Fast") not in known and declared not in known:
        raise UserError(
            f"{name_or_path} has a {family.name} vocabulary: its tokenizer_class must be one of {', '.join(known)}, "
            f"got {declared!r}, which may split text otherwise"
        )
    plain = _PLAIN_OPTIONS | (_PLAIN_OPTIONS_OF_A_VOCABULARY if from_vocabulary else {})
    plain |= _PLAIN_OPTIONS_OF_A_UNIGRAM if family is UNIGRAM else {}
    for option, values in plain.items():
        if options.get(option) not in values:
            raise UserError(
                f"{folder / 'tokenizer_config.json'}: {option} must be {values[-1]!r} or left out, got "
                f"{options[option]!r}: only the tokenizers library's {family.name} pipelines can be used"
            )


def _built(folder: Path, family: TokenizerFamily, options: dict[str, Any]) -> "PreTrainedTokenizerFast":
    """The family's own pipeline around a folder's vocabulary."""
    import transformers

    given = {name: options[name] for name in family.options if name in options}
    return getattr(transformers, family.classes[0]).from_pretrained(str(folder), **given)


def _read(
    folder: Path, family: TokenizerFamily, options: dict[str, Any], content: dict[str, Any]
) -> "PreTrainedTokenizerFast":
    """The pipeline of a folder's tokenizer.json, with the options that its tokenizer_config.json changes."""
    from tinybert_jax.data.file_tokenizer import FileTokenizer

    named = options.keys() | (_read_object(folder / "special_tokens_map.json") or {}).keys()
    vocabulary = content["model"]["vocab"]  # of a unigram, pairs of a piece and its score
    pieces = vocabulary if isinstance(vocabulary, dict) else (piece for piece, _ in vocabulary)
    known = {*pieces, *(token["content"] for token in content.get("added_tokens", ()))}
    special = {name: token for name, token in family.special.items() if name not in named and token in known}
    tokenizer = FileTokenizer.load(folder, **special)
    part = getattr(tokenizer.backend_tokenizer, family.part)
    if options.get("tokenizer_class") not in AS_IT_STANDS and type(part).__name__ == family.part_type:
        for name, own in family.options.items():
            if name in options:
                setattr(part, own, options[name])
    return tokenizer


def _check_pairs(name_or_path: str | Path, tokenizer: "PreTrainedTokenizerFast", family: TokenizerFamily) -> None:
    """Windows are put together without the pipeline's last step: it must do what they do."""
    backend = bare_backend(tokenizer)
    question, text = (backend.encode(words, add_special_tokens=False).ids for words in ("a", "b"))
    pair = backend.encode("a", "b")
    separators = len(pair.ids) - len(question) - len(text) - 2
    sep_id = tokenizer.sep_token_id
    joined = [tokenizer.cls_token_id, *question, *[sep_id] * separators, *text, sep_id]
    if separators < 1 or pair.ids != joined:
        raise UserError(
            f"{name_or_path} must join a question and a text as {tokenizer.cls_token} question {tokenizer.sep_token} "
            f"text {tokenizer.sep_token}, got {' '.join(pair.tokens)} for 'a' and 'b': see the post_processor of its "
            "tokenizer.json"
        )
    segments = [0] * (1 + len(question) + separators) + [1] * (len(text) + 1)
    if family is BERT and pair.type_ids != segments:
        raise UserError(
            f"{name_or_path} must number the segments of a question and a text {segments}, got {pair.type_ids}: see "
            "the post_processor of its tokenizer.json"
        )


def _warn_of_unreachable(name_or_path: str | Path, backend: "Tokenizer", decided_by: str) -> None:
    normalizer = backend.normalizer
    if normalizer is None:
        return
    words = [piece.removeprefix("##") for piece in backend.get_vocab(with_added_tokens=False)]
    words = [word for word in words if not (len(word) > 1 and word[0] == "[" and word[-1] == "]")]
    # No normalizer changes small ASCII letters, and most of a lower-casing vocabulary is nothing else.
    changeable = (word for word in words if not (word.isascii() and word == word.lower()))
    unreachable = [word for word in changeable if normalizer.normalize_str(word).replace(" ", "") != word]
    if len(unreachable) > _MOST_UNREACHABLE * len(words):
        example = sorted(unreachable)[0]
        warnings.warn(
            f"{name_or_path}: {len(unreachable)} of {len(words)} vocabulary entries can never be produced, as "
            f"{decided_by} turns {example!r} into {normalizer.normalize_str(example)!r}: for a cased vocabulary, write "
            '{"do_lower_case": false} into tokenizer_config.json; for accents, {"strip_accents": false}',
            stacklevel=3,
        )


def _read_object(path: Path) -> dict[str, Any] | None:
    """A JSON object, or None where there is no such file."""
    if not path.is_file():
        return None
    value = read_json(path)
    if not isinstance(value, dict):
        raise UserError(f"{path} must hold a JSON object, got a {type(value).__name__}")
    return value

"""BERT's WordPiece tokenizer, loaded as its files say."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinybert_jax.errors import UserError
from tinybert_jax.files import read_json
from tinybert_jax.hub import locate

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

_VOCABULARY_FILES = ("tokenizer.json", "vocab.txt")
_NORMALIZER_OPTIONS = {  # tokenizer_config.json's name for each option of tokenizer.json's normalizer
    "do_lower_case": "lowercase",
    "strip_accents": "strip_accents",
    "tokenize_chinese_chars": "handle_chinese_chars",
}


def load_tokenizer(name_or_path: str | Path) -> "PreTrainedTokenizerFast":
    """Loads BERT's fast tokenizer from a folder or a hub id.

    The vocabulary is tokenizer.json's, else vocab.txt's. Casing and accents are as tokenizer_config.json
    says, else as tokenizer.json's normalizer does (a step that transformers skips), else lower-case. The
    model's config.json is not needed.

    Raises:
        UserError: no such folder or hub model, no tokenizer files in it, or not a BERT vocabulary.
    """
    from transformers import BertTokenizer

    folder = locate(name_or_path)
    if not any((folder / name).is_file() for name in _VOCABULARY_FILES):
        raise UserError(f"{name_or_path} has no tokenizer: it needs a vocab.txt or a tokenizer.json")
    options = {}
    if (folder / "tokenizer.json").is_file():
        normalizer = _read_object(folder / "tokenizer.json").get("normalizer") or {}
        options = {ours: normalizer[theirs] for ours, theirs in _NORMALIZER_OPTIONS.items() if theirs in normalizer}
    if (folder / "tokenizer_config.json").is_file():
        options.update(_read_object(folder / "tokenizer_config.json"))
    options = {name: options[name] for name in _NORMALIZER_OPTIONS if name in options}
    try:
        tokenizer = BertTokenizer.from_pretrained(str(folder), **options)
    except Exception as error:  # the tokenizers library raises bare Exception
        raise UserError(f"cannot load the tokenizer of {name_or_path}: {error}") from error
    vocabulary = tokenizer.backend_tokenizer.get_vocab(with_added_tokens=False)
    specials = (tokenizer.cls_token, tokenizer.sep_token, tokenizer.pad_token, tokenizer.unk_token)
    missing = [token for token in specials if token not in vocabulary]
    if missing:
        raise UserError(f"{name_or_path} has no BERT vocabulary: it lacks {', '.join(map(str, missing))}")
    return tokenizer


def _read_object(path: Path) -> dict[str, Any]:
    value = read_json(path)
    if not isinstance(value, dict):
        raise UserError(f"{path} must hold a JSON object, got a {type(value).__name__}")
    return value


def bare_backend(tokenizer: "PreTrainedTokenizerFast") -> "Tokenizer":
    """Returns the tokenizer's engine, freed of the truncation and padding that a tokenizer.json may carry."""
    backend = tokenizer.backend_tokenizer
    backend.no_truncation()
    backend.no_padding()
    return backend

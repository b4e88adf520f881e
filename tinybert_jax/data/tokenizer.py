"""BERT's WordPiece and RoBERTa's byte-level BPE tokenizers, loaded as their files say."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinybert_jax.errors import UserError
from tinybert_jax.hub import locate
from tinybert_jax.store.files import read_json

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

# tokenizer_config.json's name for each option of tokenizer.json's normalizer (BERT) or pre_tokenizer (RoBERTa)
_NORMALIZER_OPTIONS = {
    "do_lower_case": "lowercase",
    "strip_accents": "strip_accents",
    "tokenize_chinese_chars": "handle_chinese_chars",
}
_PRE_TOKENIZER_OPTIONS = {"add_prefix_space": "add_prefix_space"}


def load_tokenizer(name_or_path: str | Path) -> "PreTrainedTokenizerFast":
    """Loads the fast tokenizer of a BERT or a RoBERTa from a folder or a hub id.

    The vocabulary is tokenizer.json's, else vocab.txt's, else that of vocab.json and merges.txt. The family is
    the vocabulary's: one with merges is RoBERTa's. Options (casing and accents, a space put before every text)
    are as tokenizer_config.json says, else as tokenizer.json does (a step that transformers skips), else the
    family's defaults. The model's config.json is not needed.

    Raises:
        UserError: no such folder or hub model, no tokenizer files in it, or neither a BERT nor a RoBERTa vocabulary.
    """
    from transformers import BertTokenizer, RobertaTokenizer

    folder = locate(name_or_path)
    content = _read_object(folder / "tokenizer.json") if (folder / "tokenizer.json").is_file() else None
    if _is_byte_level(name_or_path, folder, content):
        cls, family, section, names = RobertaTokenizer, "RoBERTa", "pre_tokenizer", _PRE_TOKENIZER_OPTIONS
    else:
        cls, family, section, names = BertTokenizer, "BERT", "normalizer", _NORMALIZER_OPTIONS
    stored = (content or {}).get(section) or {}
    options = {ours: stored[theirs] for ours, theirs in names.items() if theirs in stored}
    if (folder / "tokenizer_config.json").is_file():
        options.update(_read_object(folder / "tokenizer_config.json"))
    options = {name: options[name] for name in names if name in options}
    try:
        tokenizer = cls.from_pretrained(str(folder), **options)
    except Exception as error:  # the tokenizers library raises bare Exception
        raise UserError(f"cannot load the tokenizer of {name_or_path}: {error}") from error
    vocabulary = tokenizer.backend_tokenizer.get_vocab(with_added_tokens=False)
    specials = (tokenizer.cls_token, tokenizer.sep_token, tokenizer.pad_token, tokenizer.unk_token)
    missing = [token for token in specials if token not in vocabulary]
    if missing:
        raise UserError(f"{name_or_path} has no {family} vocabulary: it lacks {', '.join(map(str, missing))}")
    return tokenizer


def _is_byte_level(name_or_path: str | Path, folder: Path, content: dict[str, Any] | None) -> bool:
    """Whether the vocabulary is a byte-level BPE.

    Raises:
        UserError: there is no vocabulary, or it is a BPE of another kind than RoBERTa's.
    """
    if content is None:
        if (folder / "vocab.txt").is_file():
            return False
        if (folder / "vocab.json").is_file() and (folder / "merges.txt").is_file():
            return True
        raise UserError(
            f"{name_or_path} has no tokenizer: it needs a tokenizer.json, a vocab.txt, or a vocab.json and a merges.txt"
        )
    # Not by the model's "type": files of the first years leave it out.
    if "merges" not in _object(content.get("model")):
        return False
    split = _object(content.get("pre_tokenizer")).get("type")
    if split != "ByteLevel" or content.get("normalizer") is not None:
        raise UserError(
            f"{name_or_path} has a BPE tokenizer that is not RoBERTa's: that one splits by ByteLevel alone and has no "
            f"normalizer, got {split} and {_object(content.get('normalizer')).get('type', 'none')}"
        )
    return True


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


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

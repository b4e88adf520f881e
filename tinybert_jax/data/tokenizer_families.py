"""The families of tokenizers that can be used, and how a tokenizer.json or a vocabulary is told to be of one."""

from pathlib import Path
from typing import Any, NamedTuple

from tinybert_jax.errors import UserError


class TokenizerFamily(NamedTuple):
    """What transformers knows of a family of tokenizers.

    Attributes:
        name: for messages.
        classes: names of its classes, which all build the same from a vocabulary; the first one does it here.
        part: the part of the pipeline that options of tokenizer_config.json change.
        part_type: the type that such a part must have for the options to mean something.
        options: tokenizer_config.json's name for each option, with the part's own.
        special: the special tokens where the files name none.
    """

    name: str
    classes: tuple[str, ...]
    part: str
    part_type: str
    options: dict[str, str]
    special: dict[str, str]


BERT = TokenizerFamily(
    "BERT",
    ("BertTokenizer", "DistilBertTokenizer", "ElectraTokenizer", "MobileBertTokenizer", "ConvBertTokenizer"),
    "normalizer",
    "BertNormalizer",
    {
        "do_lower_case": "lowercase",
        "strip_accents": "strip_accents",
        "tokenize_chinese_chars": "handle_chinese_chars",
    },
    {f"{name}_token": f"[{name.upper()}]" for name in ("cls", "sep", "pad", "unk", "mask")},
)
ROBERTA = TokenizerFamily(
    "RoBERTa",
    ("RobertaTokenizer", "LongformerTokenizer", "BartTokenizer"),
    "pre_tokenizer",
    "ByteLevel",
    {"add_prefix_space": "add_prefix_space"},
    {f"{name}_token": f"<{name}>" for name in ("pad", "unk", "mask")}
    | {"cls_token": "<s>", "bos_token": "<s>", "sep_token": "</s>", "eos_token": "</s>"},
)
UNIGRAM = TokenizerFamily(
    "SentencePiece unigram",
    ("XLMRobertaTokenizer", "CamembertTokenizer"),
    "pre_tokenizer",
    "Metaspace",
    {},  # none that leaves the pipeline what it is
    ROBERTA.special,
)
# Classes that take a tokenizer.json as it stands, and no options.
AS_IT_STANDS = ("PreTrainedTokenizerFast", "TokenizersBackend")


def family_of(name_or_path: str | Path, folder: Path, content: dict[str, Any] | None) -> TokenizerFamily:
    """The family of a vocabulary.

    Raises:
        UserError: there is no vocabulary, or it is of another kind, or text is split otherwise than in that family.
    """
    if content is None:
        if (folder / "vocab.txt").is_file():
            return BERT
        if (folder / "vocab.json").is_file() and (folder / "merges.txt").is_file():
            return ROBERTA
        needed = "it needs a tokenizer.json, a vocab.txt, or a vocab.json and a merges.txt"
        if (folder / "sentencepiece.bpe.model").is_file():
            needed = (
                "a sentencepiece.bpe.model cannot be read, so write a tokenizer.json, once, with transformers: "
                "AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER)"
            )
        raise UserError(f"{name_or_path} has no tokenizer: {needed}")
    model = _object(content.get("model"))
    # Not by the model's "type": files of the first years leave it out.
    if "merges" in model:
        _check_byte_level(name_or_path, content)
        return ROBERTA
    if isinstance(model.get("vocab"), list):
        _check_unigram(name_or_path, content)
        return UNIGRAM
    if (kind := model.get("type", "WordPiece")) != "WordPiece":
        raise UserError(f"{name_or_path} must have a WordPiece, a byte-level BPE or a unigram tokenizer, got {kind}")
    return BERT


def _check_byte_level(name_or_path: str | Path, content: dict[str, Any]) -> None:
    split = _object(content.get("pre_tokenizer")).get("type")
    if split != "ByteLevel" or content.get("normalizer") is not None:
        raise UserError(
            f"{name_or_path} has a BPE tokenizer that is not RoBERTa's: that one splits only by ByteLevel and has no "
            f"normalizer, got {split} and {_object(content.get('normalizer')).get('type', 'none')}"
        )
    if dropout := _object(content.get("model")).get("dropout"):
        raise UserError(f"{name_or_path} must split words the same way each time, got a BPE with dropout {dropout}")


def _check_unigram(name_or_path: str | Path, content: dict[str, Any]) -> None:
    split = _object(content.get("pre_tokenizer"))
    steps = [_object(step).get("type") for step in split.get("pretokenizers", [split])]
    if steps not in (["Metaspace"], ["WhitespaceSplit", "Metaspace"]):
        raise UserError(
            f"{name_or_path} has a unigram tokenizer that is not XLM-RoBERTa's: that one splits only by "
            f"WhitespaceSplit and Metaspace, got {' and '.join(map(str, steps))}"
        )


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}

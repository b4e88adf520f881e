import json
import subprocess
import sys

import pytest

from tinybert_jax.data import load_tokenizer
from tinybert_jax.data.tokenizer import bare_backend
from tinybert_jax.errors import UserError

VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "hello", "Hello", "h", "##é", "e"]


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n", encoding="utf-8")
    return tmp_path


def tokens(folder, text="Hello hello"):
    return load_tokenizer(folder).tokenize(text)


def configure(folder, **options):
    (folder / "tokenizer_config.json").write_text(json.dumps(options))


def test_vocab_alone_is_lower_case(folder):
    tokenizer = load_tokenizer(str(folder))
    assert tokenizer.tokenize("Hello HELLO world") == ["hello", "hello", "[UNK]"]
    assert tokenizer.get_vocab() == {token: i for i, token in enumerate(VOCABULARY)}
    assert (tokenizer.pad_token_id, tokenizer.cls_token_id, tokenizer.sep_token_id) == (0, 2, 3)


def test_tokenizer_config_decides_case_and_accents(folder):
    configure(folder, do_lower_case=False)
    assert tokens(folder) == ["Hello", "hello"]
    assert tokens(folder, "hé") == ["h", "##é"]
    configure(folder, do_lower_case=True, strip_accents=False)
    assert tokens(folder, "Hé") == ["h", "##é"]


def test_a_model_config_without_model_type_does_not_matter(folder):
    (folder / "config.json").write_text('{"vocab_size": 9, "cell": {}}')
    assert tokens(folder) == ["hello", "hello"]


def test_tokenizer_json_decides_where_the_config_is_silent(folder, tmp_path_factory):
    configure(folder, do_lower_case=False)
    saved = tmp_path_factory.mktemp("saved")
    load_tokenizer(folder).backend_tokenizer.save(str(saved / "tokenizer.json"))
    assert tokens(saved) == ["Hello", "hello"]
    configure(saved, do_lower_case=True)
    assert tokens(saved) == ["hello", "hello"]


def test_a_saved_tokenizer_loads_as_it_was(folder, tmp_path_factory):
    configure(folder, do_lower_case=False)
    saved = tmp_path_factory.mktemp("saved")
    load_tokenizer(folder).save_pretrained(saved)
    assert tokens(saved) == ["Hello", "hello"]


def test_bare_backend_does_not_truncate_or_pad(folder, tmp_path_factory):
    saved = tmp_path_factory.mktemp("saved")
    backend = load_tokenizer(folder).backend_tokenizer
    backend.enable_truncation(2)
    backend.enable_padding(length=2)
    backend.save(str(saved / "tokenizer.json"))
    loaded = bare_backend(load_tokenizer(saved))
    assert loaded.encode("hello hello hello", add_special_tokens=False).ids == [5, 5, 5]
    assert loaded.encode("hello", add_special_tokens=False).ids == [5]


def test_faults_are_user_errors(tmp_path):
    with pytest.raises(UserError, match=r"needs a tokenizer\.json, a vocab\.txt, or a vocab\.json and a merges\.txt"):
        load_tokenizer(tmp_path)
    with pytest.raises(UserError, match=r"no folder .*absent"):
        load_tokenizer(tmp_path / "absent")
    (tmp_path / "vocab.txt").write_text("hello\n[UNK]\n[PAD]\n")
    with pytest.raises(UserError, match=r"no BERT vocabulary: it lacks \[CLS\], \[SEP\]"):
        load_tokenizer(tmp_path)
    for broken, message in (("{", "not valid JSON"), ("[]", "JSON object"), ('{"model": 3}', "cannot load")):
        (tmp_path / "tokenizer.json").write_text(broken)
        with pytest.raises(UserError, match=message):
            load_tokenizer(tmp_path)


# --- RoBERTa ---------------------------------------------------------------------------------------------------------


BYTE_LEVEL = ["<s>", "<pad>", "</s>", "<unk>", "h", "e", "l", "o", "Ġ", "ll", "llo", "Ġh", "Ċ", "<mask>"]
MERGES = ["l l", "ll o", "Ġ h"]


@pytest.fixture
def byte_level(tmp_path):
    """vocab.json and merges.txt, as the older RoBERTas of the hub have them."""
    (tmp_path / "vocab.json").write_text(json.dumps({token: i for i, token in enumerate(BYTE_LEVEL)}))
    (tmp_path / "merges.txt").write_text("\n".join(["#version: 0.2", *MERGES]) + "\n")
    return tmp_path


def tokenizer_json(folder, destination, **changes):
    """The tokenizer.json of a folder's tokenizer, alone, with some sections changed."""
    destination.mkdir()
    load_tokenizer(folder).backend_tokenizer.save(str(destination / "tokenizer.json"))
    content = json.loads((destination / "tokenizer.json").read_text())
    (destination / "tokenizer.json").write_text(json.dumps(content | changes))
    return destination


def test_vocab_json_and_merges_are_robertas(byte_level):
    tokenizer = load_tokenizer(str(byte_level))
    assert tokenizer.tokenize("hello hello") == ["h", "e", "llo", "Ġh", "e", "llo"]
    assert tokenizer.get_vocab() == {token: i for i, token in enumerate(BYTE_LEVEL)}
    assert tokenizer("he", "o")["input_ids"] == [0, 4, 5, 2, 2, 7, 2]


def test_a_model_config_does_not_decide_the_family(byte_level, folder):
    """Both folders are one: with a vocab.txt and no tokenizer.json, it is a BERT's."""
    (folder / "config.json").write_text('{"model_type": "roberta"}')
    assert load_tokenizer(folder).tokenize("hello") == ["hello"]
    (folder / "vocab.txt").unlink()
    (folder / "config.json").write_text('{"model_type": "bert"}')
    assert load_tokenizer(byte_level).tokenize("hello") == ["h", "e", "llo"]


def test_merges_in_a_tokenizer_json_are_robertas(byte_level):
    saved = tokenizer_json(byte_level, byte_level / "saved")
    content = json.loads((saved / "tokenizer.json").read_text())
    del content["model"]["type"]  # as in files of the first years
    (saved / "tokenizer.json").write_text(json.dumps(content))
    (saved / "vocab.txt").write_text("\n".join(VOCABULARY))
    assert load_tokenizer(saved).tokenize("hello hello") == ["h", "e", "llo", "Ġh", "e", "llo"]


def test_the_files_decide_on_a_space_before_the_text(byte_level):
    assert tokens(byte_level, "hello") == ["h", "e", "llo"]
    configure(byte_level, add_prefix_space=True)
    assert tokens(byte_level, "hello") == ["Ġh", "e", "llo"]
    saved = tokenizer_json(byte_level, byte_level / "saved")
    assert tokens(saved, "hello") == ["Ġh", "e", "llo"]
    configure(saved, add_prefix_space=False)
    assert tokens(saved, "hello") == ["h", "e", "llo"]


def test_a_saved_roberta_tokenizer_loads_as_it_was(byte_level):
    configure(byte_level, add_prefix_space=True, model_max_length=512)
    load_tokenizer(byte_level).save_pretrained(byte_level / "saved")
    again = load_tokenizer(byte_level / "saved")
    assert again.tokenize("hello") == ["Ġh", "e", "llo"]
    assert again.backend_tokenizer.to_str() == load_tokenizer(byte_level).backend_tokenizer.to_str()
    transformers = pytest.importorskip("transformers")
    theirs = transformers.AutoTokenizer.from_pretrained(byte_level / "saved")
    assert theirs("he", "o")["input_ids"] == again("he", "o")["input_ids"]


def test_faults_of_a_byte_level_tokenizer_are_user_errors(byte_level):
    nfc = tokenizer_json(byte_level, byte_level / "nfc", normalizer={"type": "NFC"})
    with pytest.raises(UserError, match=r"not RoBERTa's.* no normalizer, got ByteLevel and NFC"):
        load_tokenizer(nfc)
    words = tokenizer_json(byte_level, byte_level / "words", pre_tokenizer={"type": "Whitespace"})
    with pytest.raises(UserError, match=r"not RoBERTa's.* got Whitespace and none"):
        load_tokenizer(words)
    (byte_level / "vocab.json").write_text(json.dumps({token: i for i, token in enumerate(BYTE_LEVEL[2:])}))
    with pytest.raises(UserError, match="no RoBERTa vocabulary: it lacks <s>, <pad>"):
        load_tokenizer(byte_level)
    (byte_level / "vocab.json").write_text("{")
    with pytest.raises(UserError, match="cannot load the tokenizer"):
        load_tokenizer(byte_level)
    (byte_level / "merges.txt").unlink()
    with pytest.raises(UserError, match=r"needs a tokenizer\.json, .* a vocab\.json and a merges\.txt"):
        load_tokenizer(byte_level)


def test_importing_data_loads_no_heavy_library():
    program = (
        "import sys, tinybert_jax.data; "
        "print({'transformers', 'datasets', 'tokenizers', 'huggingface_hub'} & set(sys.modules))"
    )
    output = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert output.stdout.strip() == "set()"

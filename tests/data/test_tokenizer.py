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
    with pytest.raises(UserError, match=r"needs a vocab\.txt or a tokenizer\.json"):
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


def test_importing_data_loads_no_heavy_library():
    program = (
        "import sys, tinybert_jax.data; "
        "print({'transformers', 'datasets', 'tokenizers', 'huggingface_hub'} & set(sys.modules))"
    )
    output = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert output.stdout.strip() == "set()"

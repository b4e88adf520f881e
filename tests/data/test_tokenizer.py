import json
import subprocess
import sys

import pytest

from tinybert_jax.data import load_tokenizer
from tinybert_jax.data.tokenizer import bare_backend, check_ids_fit, text_rules
from tinybert_jax.errors import UserError

# The vocabulary is of both cases, so that tests see which one is read.
pytestmark = pytest.mark.filterwarnings("ignore:.*vocabulary entries can never be produced")

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


# --- a tokenizer.json of its own -------------------------------------------------------------------------------------

DIGITS = {
    "type": "Sequence",
    "pretokenizers": [{"type": "BertPreTokenizer"}, {"type": "Digits", "individual_digits": True}],
}
SMALL = {"type": "Sequence", "normalizers": [{"type": "NFC"}, {"type": "Lowercase"}]}
PIECES = [*VOCABULARY[:5], "2", "4", "0", "2400", "cafe", "café", "at"]


@pytest.fixture
def own(tmp_path):
    """A WordPiece pipeline that BERT's class cannot express, with configs as the hub has them."""
    (tmp_path / "vocab.txt").write_text("\n".join(PIECES), encoding="utf-8")
    folder = tokenizer_json(tmp_path, tmp_path / "own", normalizer=SMALL, pre_tokenizer=DIGITS)
    change(folder, "model", max_input_chars_per_word=6)
    configure(folder, tokenizer_class="BertTokenizer", model_max_length=384)
    return folder


def change(folder, section, **changes):
    content = json.loads((folder / "tokenizer.json").read_text())
    content[section] |= changes
    (folder / "tokenizer.json").write_text(json.dumps(content))


def test_a_pipeline_is_used_as_it_stands(own):
    tokenizer = load_tokenizer(own)
    assert tokenizer.tokenize("Café at 2400") == ["café", "at", "2", "4", "0", "0"]
    assert tokenizer.tokenize("at atatatat") == ["at", "[UNK]"]  # over six characters
    assert tokenizer.model_max_length == 384
    assert tokenizer("at", "2")["input_ids"] == [2, 11, 3, 5, 3]
    specials = (tokenizer.cls_token_id, tokenizer.sep_token_id, tokenizer.pad_token_id, tokenizer.unk_token_id)
    assert (*specials, tokenizer.mask_token_id) == (2, 3, 0, 1, 4)
    assert len(tokenizer) == len(PIECES)
    theirs = pytest.importorskip("transformers").PreTrainedTokenizerFast.from_pretrained(own, sep_token="[SEP]")
    for pair in (("Café at", "2400"), ("atatatat", "hello Café")):
        assert tokenizer(*pair).data == theirs(*pair).data


def test_it_is_saved_byte_for_byte_as_it_was_loaded(own, tmp_path):
    (own / "special_tokens_map.json").write_text('{"cls_token":   "[CLS]"}')
    before = {path.name: path.read_bytes() for path in own.iterdir()}
    tokenizer = load_tokenizer(own)
    (own / "tokenizer.json").write_text("{}")  # training takes hours
    tokenizer.save_pretrained(tmp_path / "saved")
    assert {path.name: path.read_bytes() for path in (tmp_path / "saved").iterdir()} == before
    assert text_rules(load_tokenizer(tmp_path / "saved")) == text_rules(tokenizer)


def test_text_is_treated_alike_only_by_equal_pipelines(own, tmp_path):
    ours = text_rules(load_tokenizer(own))
    assert ours != text_rules(load_tokenizer(tmp_path))
    change(own, "model", max_input_chars_per_word=7)
    assert {part for part, rules in text_rules(load_tokenizer(own)).items() if rules != ours[part]} == {"model"}


def test_options_change_the_normalizer_they_belong_to_alone(own, folder, tmp_path):
    configure(own, do_lower_case=False)
    assert tokens(own, "CAFÉ") == ["café"]  # the file's own normalizer has no such option
    plain = tokenizer_json(folder, tmp_path / "plain")
    for cls, case in (("BertTokenizerFast", "Hello"), ("PreTrainedTokenizerFast", "hello"), (None, "Hello")):
        configure(plain, do_lower_case=False, tokenizer_class=cls)
        assert tokens(plain, "Hello") == [case]


def test_special_tokens_are_those_of_the_configs(own):
    change_all = json.loads((own / "tokenizer.json").read_text().replace("[CLS]", "<cls>"))
    (own / "tokenizer.json").write_text(json.dumps(change_all))
    with pytest.raises(UserError, match=r"no BERT vocabulary: it lacks \[CLS\]"):
        load_tokenizer(own)
    configure(own, cls_token="<cls>")
    assert load_tokenizer(own).cls_token_id == 2
    configure(own)
    (own / "special_tokens_map.json").write_text('{"cls_token": "<cls>"}')
    assert load_tokenizer(own).cls_token_id == 2


@pytest.mark.parametrize("file", ["tokenizer_config.json", "config.json"])
def test_a_class_that_splits_otherwise_is_refused(folder, file):
    (folder / file).write_text('{"tokenizer_class": "BertJapaneseTokenizer"}')
    with pytest.raises(UserError, match=r"tokenizer_class must be one of BertTokenizer, .*got 'BertJapaneseTokenizer'"):
        load_tokenizer(folder)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("word_tokenizer_type", "mecab"),
        ("subword_tokenizer_type", "character"),
        ("auto_map", {"AutoTokenizer": ["own.Tokenizer", None]}),
        ("do_basic_tokenize", False),
        ("never_split", ["hello"]),
    ],
)
def test_an_option_that_splits_otherwise_is_refused(folder, option, value):
    configure(folder, **{option: value})
    with pytest.raises(UserError, match=rf"tokenizer_config\.json: {option} must be .* or left out, got"):
        load_tokenizer(folder)


def template(second, *, segments=(0, 0, 0, 1, 1)):
    parts = [("SpecialToken", "[CLS]"), ("Sequence", "A"), ("SpecialToken", "[SEP]"), ("Sequence", "B"), second]
    special = {
        token: {"id": token, "ids": [VOCABULARY.index(token)], "tokens": [token]} for token in ("[CLS]", "[SEP]")
    }
    return {
        "type": "TemplateProcessing",
        "single": [{"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{kind: {"id": id_, "type_id": n}} for (kind, id_), n in zip(parts, segments, strict=True)],
        "special_tokens": special,
    }


def test_a_pipeline_that_joins_texts_otherwise_is_refused(folder, tmp_path):
    plain = tokenizer_json(folder, tmp_path / "plain", post_processor=template(("SpecialToken", "[SEP]")))
    assert tokens(plain, "hello") == ["hello"]
    other_end = tokenizer_json(folder, tmp_path / "end", post_processor=template(("SpecialToken", "[CLS]")))
    with pytest.raises(
        UserError, match=r"must join .* as \[CLS\] question \[SEP\] text \[SEP\], got .* \[CLS\] for 'a'"
    ):
        load_tokenizer(other_end)
    bare = tokenizer_json(folder, tmp_path / "bare", post_processor=None)
    with pytest.raises(UserError, match="must join a question and a text as"):
        load_tokenizer(bare)
    one_segment = template(("SpecialToken", "[SEP]"), segments=(0, 0, 0, 0, 0))
    flat = tokenizer_json(folder, tmp_path / "flat", post_processor=one_segment)
    with pytest.raises(UserError, match=r"must number the segments .* \[0, 0, 0, 1, 1\], got \[0, 0, 0, 0, 0\]"):
        load_tokenizer(flat)


def test_a_model_of_another_kind_is_refused(folder, tmp_path):
    words = {"type": "WordLevel", "unk_token": "[UNK]", "vocab": {"[UNK]": 0}}
    other = tokenizer_json(folder, tmp_path / "other", model=words)
    with pytest.raises(UserError, match=r"must have a WordPiece, .* or a unigram tokenizer, got WordLevel"):
        load_tokenizer(other)


@pytest.mark.parametrize("name", ["vocab.txt", "tokenizer.json"])
def test_a_git_lfs_pointer_is_named(folder, name):
    (folder / name).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n")
    with pytest.raises(UserError, match=rf"{name} is a Git LFS pointer"):
        load_tokenizer(folder)


# --- a tokenizer beside its model ------------------------------------------------------------------------------------


def test_the_largest_id_counts(folder):
    check_ids_fit("m", load_tokenizer(folder), 10)
    (folder / "vocab.txt").write_text("\n".join([*VOCABULARY[:5], "hello", "hello", "e"]))
    tokenizer = load_tokenizer(folder)
    assert len(tokenizer) == 7
    with pytest.raises(UserError, match=r"^m: token ids must be below 7, .* got 7 for 'e': take the tokenizer"):
        check_ids_fit("m", tokenizer, 7)
    check_ids_fit("m", tokenizer, 8)


@pytest.mark.parametrize(
    ("id_", "said"),
    [
        (5, "got 5 for '[A-Za-z]+', the id of '[A-Za-z]+' too"),
        (2**31, "got 2147483648 for 'Hello', which no array"),
        (-1, "cannot load"),
    ],
    ids=["repeated", "beyond-int32", "negative"],
)
def test_ids_that_cannot_be_used_are_named(folder, tmp_path, id_, said):
    own = tokenizer_json(folder, tmp_path / "own")
    content = json.loads((own / "tokenizer.json").read_text())
    content["model"]["vocab"]["Hello"] = id_
    (own / "tokenizer.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=said):
        load_tokenizer(own)


def test_an_added_token_counts(folder, tmp_path):
    added = {"id": 12, "content": "<new>", "single_word": False, "lstrip": False, "rstrip": False, "normalized": True}
    own = tokenizer_json(folder, tmp_path / "own")
    content = json.loads((own / "tokenizer.json").read_text())
    content["added_tokens"].append(added | {"id": 10, "special": False})
    (own / "tokenizer.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match="got 10 for '<new>'"):
        check_ids_fit("m", load_tokenizer(own), 10)


CASED = "2 of 5 vocabulary entries can never be produced, as {} turns 'Hello' into 'hello': .*do_lower_case\": false"


def test_entries_that_can_never_be_produced_are_reported(folder, tmp_path):
    with pytest.warns(UserWarning, match=CASED.format(r"the default without a tokenizer_config\.json")):
        load_tokenizer(folder)
    configure(folder, do_lower_case=True)
    with pytest.warns(UserWarning, match=CASED.format(r"tokenizer_config\.json")):
        load_tokenizer(folder)
    own = tokenizer_json(folder, tmp_path / "own")
    with pytest.warns(UserWarning, match=CASED.format(r"tokenizer\.json's normalizer")):
        load_tokenizer(own)


@pytest.mark.filterwarnings("error")
def test_a_vocabulary_that_fits_its_normalizer_is_not_reported(folder):
    configure(folder, do_lower_case=False)
    load_tokenizer(folder)
    small = [*VOCABULARY[:5], "[unused0]", "中", "##s", *(f"word{i}" for i in range(30)), "Odd"]
    (folder / "vocab.txt").write_text("\n".join(small), encoding="utf-8")
    (folder / "tokenizer_config.json").unlink()
    load_tokenizer(folder)


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
    drops = tokenizer_json(byte_level, byte_level / "drops")
    change(drops, "model", dropout=0.1)
    with pytest.raises(UserError, match=r"same way each time, got a BPE with dropout 0\.1"):
        load_tokenizer(drops)
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

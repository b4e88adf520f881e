import dataclasses
import hashlib
import os
import subprocess
import sys

import pytest

from tests.store.one_by_one import contents, made_by
from tinybert_jax.augment import candidates as module
from tinybert_jax.augment.candidates import Candidates, load_masked_lm
from tinybert_jax.augment.rules import AugmentConfig
from tinybert_jax.data import Example, GoldAnswer
from tinybert_jax.errors import UserError
from tinybert_jax.model import BertForMaskedLM, BertForQuestionAnswering, save_pretrained
from tinybert_jax.run.presets import PRESETS
from tinybert_jax.tracking import read_metrics

HAYSTACK, HUAWEI, RECOMMENDED = (PRESETS[name].augment for name in ("haystack", "huawei", "recommended"))
CONFIG = AugmentConfig(candidates=5, dtype="float32")

pytestmark = pytest.mark.filterwarnings("ignore:no GloVe vectors were given")


@pytest.fixture
def store(masked_lm, paragraphs, tmp_path):
    """`store(config)`: what was found, and the store it was read from."""

    def build(config=CONFIG, some=paragraphs, folder=tmp_path):
        found = Candidates(some, masked_lm, config, folder)
        found.compute()
        return found

    return build


def digest(found):
    return hashlib.sha256(b"".join(path.read_bytes() for path in sorted(found.folder.glob("*.arrow")))).hexdigest()


@pytest.mark.parametrize("rules", [RECOMMENDED, HUAWEI, HAYSTACK], ids=["recommended", "huawei", "haystack"])
def test_candidates_stand_where_words_do(store, paragraphs, rules):
    found = list(store(dataclasses.replace(CONFIG, rules=rules)))
    assert len(found) == len(paragraphs)
    for replaceable, paragraph in zip(found, paragraphs, strict=True):
        context = paragraph[0].context
        assert replaceable.text == (context.lower() if rules is HAYSTACK else context)
        assert len(replaceable.begin) == len(replaceable.end) == len(replaceable.candidates)
        answer_end = len(paragraph[0].answers[0].text) if paragraph[0].answers and rules is not HAYSTACK else 0
        last = answer_end
        for begin, end, words in zip(*replaceable[1:], strict=True):
            word = replaceable.text[begin:end]
            assert last <= begin < end
            last = end
            assert word.lower() not in ("xyz", "unknown")  # of several pieces, or of none
            assert len(words) == 5 == len(set(words))
            assert word not in words
            assert not any(other.startswith(("##", "[")) for other in words)
            if rules is not HAYSTACK:
                assert word.lower() not in ("the", "of", "7", ".")
                assert all(other[0].isupper() == word[0].isupper() and other.isalpha() for other in words)


def test_haystack_replaces_words_of_grammar_numbers_and_punctuation_too(store):
    text = "The river , of 7 ."
    (found,) = store(dataclasses.replace(CONFIG, rules=HAYSTACK), [[Example("a", "", text, (GoldAnswer("river", 4),))]])
    assert [found.text[b:e] for b, e in zip(found.begin, found.end, strict=True)] == text.lower().split()


def test_the_same_words_whatever_stands_beside_them(store, paragraphs, tmp_path):
    together = list(store())
    for number, paragraph in enumerate(paragraphs):
        (alone,) = store(some=[paragraph], folder=tmp_path / str(number))
        assert alone == together[number]


def test_the_batches_size_and_the_blocks_change_nothing(store, tmp_path, monkeypatch):
    expected = list(store())
    monkeypatch.setattr("tinybert_jax.augment.masked_words._TOKENS", 320)
    monkeypatch.setattr(module, "_BLOCK", 3)
    assert list(store(folder=tmp_path / "other")) == expected


def test_an_interrupted_search_continues_to_the_same_bytes(store, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_BLOCK", 2)
    whole = store(folder=tmp_path / "whole")
    find, asked = module._Finder.find, []

    def interrupted(self, paragraphs):
        asked.append(len(paragraphs))
        if len(asked) == 3:
            raise KeyboardInterrupt
        return find(self, paragraphs)

    monkeypatch.setattr(module._Finder, "find", interrupted)
    with pytest.raises(KeyboardInterrupt):
        store()
    continued = store()
    assert len(asked) == 3 + 3  # two blocks were kept, the third was begun again
    assert digest(continued) == digest(whole)
    assert {path.suffix for path in continued.folder.iterdir()} == {".arrow", ".jsonl", ".json"}
    assert [line["step"] for line in read_metrics(continued.folder)] == [1, 2, 3, 4, 5]


def test_several_processes_find_the_candidates_of_one(store, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_BLOCK", 3)
    alone, three = store(folder=tmp_path / "alone"), made_by(3, lambda: store(folder=tmp_path / "three"))
    assert contents(three.folder) == contents(alone.folder)


@pytest.mark.parametrize("damage", ["truncated", "empty", "missing", "another block"])
def test_a_damaged_block_is_computed_again(store, tmp_path, monkeypatch, damage):
    monkeypatch.setattr(module, "_BLOCK", 4)
    found = store()
    before, path = digest(found), found.folder / "000001.arrow"
    match damage:
        case "truncated":
            path.write_bytes(path.read_bytes()[:100])
        case "empty":
            path.write_bytes(b"")
        case "missing":
            path.unlink()
        case "another block":
            path.write_bytes((found.folder / "000002.arrow").read_bytes())
    with pytest.warns(UserWarning, match=r"damaged \(000001\.arrow\): it is made again"):
        assert digest(store()) == before


def test_a_finished_store_asks_no_model(store, monkeypatch):
    store()
    monkeypatch.setattr(module, "_Finder", lambda *_: pytest.fail("the model was asked again"))
    store()
    store(dataclasses.replace(CONFIG, copies=100, probability=0.9, seed=4))  # which draw from the same candidates


def test_the_key_is_all_that_decides_the_candidates(masked_lm, paragraphs, tmp_path):
    def key(some=paragraphs, lm=masked_lm, config=CONFIG):
        return Candidates(some, lm, config, tmp_path).key

    config, params, _ = masked_lm
    grown = {**params, "cls": {"predictions": {**params["cls"]["predictions"]}}}
    grown["cls"]["predictions"]["bias"] = params["cls"]["predictions"]["bias"] + 1
    glove = tmp_path / "glove.txt"
    glove.write_text("a 1 2\n")
    keys = [
        key(),
        key(paragraphs[1:]),
        key([[dataclasses.replace(paragraphs[0][0], answers=())], *paragraphs[1:]]),
        key(lm=masked_lm._replace(params=grown)),
        key(lm=masked_lm._replace(config=dataclasses.replace(config, layer_norm_eps=1e-5))),
        key(config=dataclasses.replace(CONFIG, candidates=4)),
        key(config=dataclasses.replace(CONFIG, dtype="bfloat16")),
        key(config=dataclasses.replace(CONFIG, rules=HUAWEI)),
        key(config=dataclasses.replace(CONFIG, glove=glove)),
    ]
    glove.write_text("a 1 2\nb 2 1\n")
    keys.append(key(config=dataclasses.replace(CONFIG, glove=glove)))
    assert len(set(keys)) == len(keys)
    assert key(config=dataclasses.replace(CONFIG, model="another name", seed=5)) == keys[0]
    renamed = [[dataclasses.replace(example, id="x", question="y") for example in some] for some in paragraphs]
    assert key(renamed) == keys[0]


def test_words_of_several_pieces_come_from_glove(store, tmp_path):
    (tmp_path / "glove.txt").write_text("xyz 1 0\nzzz 0.9 0.1\nabc 0.8 0.3\n777 1 0.01\nfar -1 0\n")
    config = dataclasses.replace(CONFIG, candidates=2, glove=tmp_path / "glove.txt")
    paragraph = [Example("a", "", "river Xyz unknown", ())]
    (found,) = store(config, [paragraph])
    assert [found.text[b:e] for b, e in zip(found.begin, found.end, strict=True)] == ["river", "Xyz"]
    assert found.candidates[1] == ["Zzz", "Abc"]  # 777 is no word, and the cases agree


def test_without_glove_it_is_said_once(masked_lm, paragraphs, tmp_path):
    with pytest.warns(UserWarning, match="words of several pieces stay as they are") as said:
        Candidates(paragraphs, masked_lm, CONFIG, tmp_path).compute()
    assert len(said) == 1


def test_a_missing_glove_file_is_named_before_anything_is_computed(masked_lm, paragraphs, tmp_path):
    config = dataclasses.replace(CONFIG, glove=tmp_path / "nowhere.txt")
    with pytest.raises(UserError, match=r"cannot read the GloVe vectors .*nowhere\.txt"):
        Candidates(paragraphs, masked_lm, config, tmp_path)
    assert not any(tmp_path.iterdir())


def test_an_encoder_without_the_head_is_refused(masked_lm_folder, masked_lm, tmp_path, random_params):
    model = BertForQuestionAnswering(masked_lm.config)
    save_pretrained(tmp_path / "qa", masked_lm.config, random_params(model, 0), masked_lm.tokenizer)
    with pytest.raises(UserError, match="without a masked-LM head"):
        load_masked_lm(str(tmp_path / "qa"))


def test_a_token_without_an_embedding_is_refused(masked_lm, tmp_path, random_params):
    few = max(masked_lm.tokenizer.get_vocab().values())  # one row short
    config = dataclasses.replace(masked_lm.config, vocab_size=few)
    save_pretrained(tmp_path / "lm", config, random_params(BertForMaskedLM(config), 0), masked_lm.tokenizer)
    with pytest.raises(UserError, match=rf"lm: token ids must be below {few}, .* got {few} for"):
        load_masked_lm(str(tmp_path / "lm"))


TWO_DEVICES = """
import sys, warnings, hashlib, pickle, json
from pathlib import Path
import jax
assert jax.device_count() == int(sys.argv[1])
from tinybert_jax.data import read_squad
from tinybert_jax.augment.rules import AugmentConfig
from tinybert_jax.data.squad_writer import paragraphs_of
from tinybert_jax.augment.candidates import Candidates, load_masked_lm
warnings.simplefilter("ignore")
paragraphs = list(paragraphs_of(read_squad(sys.argv[2])))
config = AugmentConfig(candidates=5, dtype="float32")
found = Candidates(paragraphs, load_masked_lm(sys.argv[3]), config, Path(sys.argv[4]))
found.compute()
print(hashlib.sha256(b"".join(path.read_bytes() for path in sorted(found.folder.glob("*.arrow")))).hexdigest())
"""


def test_the_number_of_devices_changes_nothing(store, paragraphs, masked_lm_folder, tmp_path):
    from tinybert_jax.data.squad_writer import write_squad

    write_squad(tmp_path / "data.json", paragraphs)
    environment = {**os.environ, "XLA_FLAGS": "--xla_force_host_platform_device_count=2", "JAX_PLATFORMS": "cpu"}
    arguments = ["2", tmp_path / "data.json", masked_lm_folder, tmp_path / "two"]
    command = [sys.executable, "-c", TWO_DEVICES, *map(str, arguments)]
    ended = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=200)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.split()[-1] == digest(store())

import json
import sys
import warnings
from dataclasses import replace

import jax
import numpy as np
import pytest

from tests.cased_model import VOCABULARY, write_cased_model
from tinybert_jax.convert import convert, main
from tinybert_jax.data import load_tokenizer
from tinybert_jax.errors import UserError, run_script
from tinybert_jax.inference.settings import SETTINGS_FILE, QASettings, write_settings
from tinybert_jax.model import (
    BertForMaskedLM,
    BertForQuestionAnswering,
    Model,
    cut_student,
    load_pretrained,
    load_qa_model,
    save_pretrained,
)
from tinybert_jax.model.pretrained import load_stored
from tinybert_jax.store.files import write_json


@pytest.fixture
def source(tmp_path, config, params):
    """A model folder with a cased tokenizer, as the hub has them."""
    return write_cased_model(tmp_path / "source", config, params)


def run(monkeypatch, *arguments):
    """The command line; its exit status."""
    monkeypatch.setattr(sys, "argv", ["convert", *map(str, arguments)])
    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)  # run_script sets it: put it back
    with pytest.raises(SystemExit) as exit_:
        run_script(main)
    return exit_.value.code


def test_both_ways_by_the_command_line(monkeypatch, tmp_path, source, config, params):
    assert run(monkeypatch, source, tmp_path / "orbax", "--to", "orbax") == 0
    assert run(monkeypatch, tmp_path / "orbax", tmp_path / "back") == 0
    assert {path.name for path in (tmp_path / "orbax").iterdir()} >= {"config.json", "params.orbax", "tokenizer.json"}
    for folder in ("orbax", "back"):
        read_config, read = load_pretrained(tmp_path / folder)
        assert read_config == config
        jax.tree.map(np.testing.assert_array_equal, read, params)
        assert load_tokenizer(tmp_path / folder).tokenize("Hello worlds hello") == ["Hello", "world", "##s", "[UNK]"]
    weights = [(folder / "model.safetensors").read_bytes() for folder in (source, tmp_path / "back")]
    assert weights[0] == weights[1]
    assert {path.name for path in tmp_path.iterdir()} == {"source", "orbax", "back"}


@pytest.mark.parametrize(
    ("family", "shape"), [("distilbert", {"type_vocab_size": 0}), ("electra", {"embedding_size": 12})]
)
def test_other_families_convert_both_ways(tmp_path, config, random_params, family, shape):
    config = replace(config, model_type=family, **shape)
    save_pretrained(tmp_path / "source", config, random_params(BertForQuestionAnswering(config), seed=5))
    convert(str(tmp_path / "source"), tmp_path / "orbax", "orbax")
    convert(str(tmp_path / "orbax"), tmp_path / "back")
    for name in ("model.safetensors", "config.json"):
        assert (tmp_path / "source" / name).read_bytes() == (tmp_path / "back" / name).read_bytes()


def test_a_roberta_converts_both_ways(tmp_path, config, random_params):
    from tokenizers.pre_tokenizers import ByteLevel

    (tmp_path / "vocabulary").mkdir()
    pieces = ["<s>", "<pad>", "</s>", "<unk>", *sorted(ByteLevel.alphabet()), "<mask>"]
    (tmp_path / "vocabulary" / "vocab.json").write_text(json.dumps({piece: i for i, piece in enumerate(pieces)}))
    (tmp_path / "vocabulary" / "merges.txt").write_text("#version: 0.2\n")
    config = replace(config, model_type="roberta", pad_token_id=1, type_vocab_size=1, vocab_size=len(pieces))
    params = random_params(BertForQuestionAnswering(config), seed=5)
    save_pretrained(tmp_path / "source", config, params, load_tokenizer(tmp_path / "vocabulary"))
    convert(str(tmp_path / "source"), tmp_path / "orbax", "orbax")
    convert(str(tmp_path / "orbax"), tmp_path / "back")
    for folder in ("orbax", "back"):
        read_config, read = load_pretrained(tmp_path / folder)
        assert read_config == config
        jax.tree.map(np.testing.assert_array_equal, read, params)
        assert load_tokenizer(tmp_path / folder).tokenize("a b") == ["a", "Ġ", "b"]
    for name in ("model.safetensors", "config.json", "tokenizer.json"):
        assert (tmp_path / "source" / name).read_bytes() == (tmp_path / "back" / name).read_bytes()


def test_a_tokenizer_is_copied_byte_for_byte(tmp_path, source):
    convert(str(source), tmp_path / "first")  # which makes a tokenizer.json of the vocab.txt
    content = json.loads((tmp_path / "first" / "tokenizer.json").read_text())
    content["model"]["max_input_chars_per_word"] = 5
    content["normalizer"] = {"type": "NFC"}
    (tmp_path / "first" / "tokenizer.json").write_text(json.dumps(content))
    convert(str(tmp_path / "first"), tmp_path / "orbax", "orbax")
    convert(str(tmp_path / "orbax"), tmp_path / "back")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        assert (tmp_path / "back" / name).read_bytes() == (tmp_path / "first" / name).read_bytes()
    assert load_tokenizer(tmp_path / "back").tokenize("worlds") == ["[UNK]"]


def test_a_token_without_an_embedding_is_refused(tmp_path, source, config):
    pieces = [*VOCABULARY, *(f"word{i}" for i in range(config.vocab_size - len(VOCABULARY) + 1))]
    (source / "vocab.txt").write_text("\n".join(pieces))
    with pytest.raises(UserError, match=f"token ids must be below {config.vocab_size}, .* got {config.vocab_size} for"):
        convert(str(source), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_model_without_tokenizer_converts(tmp_path, config, params):
    save_pretrained(tmp_path / "source", config, params)
    convert(str(tmp_path / "source"), tmp_path / "orbax", "orbax")
    assert {path.name for path in (tmp_path / "orbax").iterdir()} == {"config.json", "params.orbax"}


@pytest.mark.parametrize("to", ["transformers", "orbax"])
def test_an_encoder_stays_an_encoder(tmp_path, capsys, config, params, to):
    save_pretrained(tmp_path / "source", config, {"bert": params["bert"]})
    convert(str(tmp_path / "source"), tmp_path / "out", to)
    assert capsys.readouterr().out.startswith(f"{tmp_path / 'out'} holds an encoder without a head")
    stored = load_stored(tmp_path / "out")
    assert (stored.config, stored.params.keys(), stored.left_out) == (config, {"bert"}, [])
    jax.tree.map(np.testing.assert_array_equal, stored.params["bert"], params["bert"])
    assert json.loads((tmp_path / "out" / "config.json").read_text())["architectures"] == ["BertModel"]
    with pytest.raises(UserError, match="is an encoder without a question-answering head: fine-tune it first"):
        load_qa_model(str(tmp_path / "out"))


@pytest.mark.parametrize("to", ["transformers", "orbax"])
def test_a_masked_lm_stays_a_masked_lm(tmp_path, capsys, config, random_params, to):
    params = random_params(BertForMaskedLM(config), seed=2)
    save_pretrained(tmp_path / "source", config, params)
    convert(str(tmp_path / "source"), tmp_path / "out", to)
    assert capsys.readouterr().out == f"{tmp_path / 'out'} holds a masked LM\n"
    jax.tree.map(np.testing.assert_array_equal, load_pretrained(tmp_path / "out", head="masked-lm")[1], params)
    assert json.loads((tmp_path / "out" / "config.json").read_text())["architectures"] == ["BertForMaskedLM"]


def test_heads_that_are_left_out_are_named(tmp_path, config, params):
    from safetensors.numpy import load_file, save_file

    save_pretrained(tmp_path / "source", config, {"bert": params["bert"]})
    tensors = load_file(tmp_path / "source" / "model.safetensors")
    tensors |= {"classifier.weight": np.ones((3, 16), np.float32), "bert.pooler.dense.bias": np.ones(16, np.float32)}
    tensors["bert.embeddings.position_ids"] = np.arange(16)[None]
    save_file(tensors, tmp_path / "source" / "model.safetensors")
    with pytest.warns(UserWarning, match=r"left out, .*: bert\.pooler\.dense\.bias, classifier\.weight$"):
        convert(str(tmp_path / "source"), tmp_path / "out")
    assert load_stored(tmp_path / "out").left_out == []


def test_of_two_heads_the_span_head_is_converted(tmp_path, config, params, random_params):
    from tinybert_jax.model.checkpoint_files import write_orbax

    write_json(tmp_path / "source" / "config.json", config.to_transformers())
    write_orbax(tmp_path / "source", params | {"cls": random_params(BertForMaskedLM(config), seed=2)["cls"]})
    with pytest.warns(UserWarning, match=r"left out, .*: cls\.predictions\.bias, cls\.predictions\.transform"):
        convert(str(tmp_path / "source"), tmp_path / "out")
    jax.tree.map(np.testing.assert_array_equal, load_stored(tmp_path / "out").params, params)


@pytest.mark.parametrize("to", ["transformers", "orbax"])
def test_an_existing_destination_is_left_alone(monkeypatch, capsys, tmp_path, source, to):
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "mine").write_text("precious")
    assert run(monkeypatch, source, tmp_path / "there", "--to", to) == 2
    assert capsys.readouterr().err == (
        f"error: {tmp_path / 'there'} exists already: name a new folder, or remove that one first\n"
    )
    assert [path.name for path in (tmp_path / "there").iterdir()] == ["mine"]


def test_a_missing_source_ends_with_status_2(monkeypatch, capsys, tmp_path):
    assert run(monkeypatch, tmp_path / "nothing", tmp_path / "out") == 2
    assert "there is no folder" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_layout_ends_with_status_2(monkeypatch, capsys, tmp_path, source):
    assert run(monkeypatch, source, tmp_path / "out", "--to", "onnx") == 2
    assert "transformers" in capsys.readouterr().err


def test_a_bad_source_leaves_nothing_behind(tmp_path, source):
    (source / "model.safetensors").write_bytes(b"garbage")
    with pytest.raises(UserError, match="cannot read the weights"):
        convert(str(source), tmp_path / "out", "orbax")
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_weights_that_are_not_finite_convert_where_that_is_asked_for(monkeypatch, capsys, tmp_path, source, params):
    from safetensors.numpy import load_file, save_file

    tensors = load_file(source / "model.safetensors")
    tensors["qa_outputs.bias"][1] = np.inf
    save_file(tensors, source / "model.safetensors")
    assert run(monkeypatch, source, tmp_path / "out") == 2
    said = capsys.readouterr().err
    assert "qa_outputs.bias must hold finite numbers, got inf among its 2" in said and "--allow-non-finite" in said
    assert not (tmp_path / "out").exists()
    with pytest.warns(UserWarning, match=r"^qa_outputs\.bias holds 1 numbers"):
        assert run(monkeypatch, source, tmp_path / "out", "--allow-non-finite") == 0
    converted = load_file(tmp_path / "out" / "model.safetensors")
    assert converted.keys() == tensors.keys()
    for name, tensor in tensors.items():
        np.testing.assert_array_equal(converted[name], tensor)


def test_a_student_is_cut_by_its_layers(monkeypatch, tmp_path, source, config, params):
    write_settings(source, QASettings())
    assert run(monkeypatch, source, tmp_path / "out", "--layers", "1", "--positions", "12") == 0
    cut, held = load_pretrained(tmp_path / "out")
    expected = cut_student(Model(config, params), [1], 12)
    assert cut == expected.config == replace(config, num_hidden_layers=1, max_position_embeddings=12)
    jax.tree.map(np.testing.assert_array_equal, held, expected.params)
    assert load_tokenizer(tmp_path / "out").get_vocab() == load_tokenizer(source).get_vocab()
    assert not (tmp_path / "out" / SETTINGS_FILE).exists()


def test_layers_that_are_not_there_end_with_status_2(monkeypatch, capsys, tmp_path, source):
    assert run(monkeypatch, source, tmp_path / "out", "--layers", "0,2") == 2
    assert capsys.readouterr().err == ("error: layers of the teacher must be from 0 to 1, as it has 2, got 0,2\n")
    assert not (tmp_path / "out").exists()

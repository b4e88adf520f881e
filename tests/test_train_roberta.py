"""The same road for a RoBERTa: two of them, of a byte-level vocabulary of their own, trained, distilled and scored."""

import json
from pathlib import Path

import pytest

from tinybert_jax import evaluate, train
from tinybert_jax.data import WindowConfig, load_tokenizer
from tinybert_jax.model import BertConfig, BertForQuestionAnswering, load_pretrained, save_pretrained
from tinybert_jax.synthetic.generate import SyntheticConfig, make_squad

pytestmark = pytest.mark.usefixtures("quick_runs")

SIZES = {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 16, "max_position_embeddings": 130}


@pytest.fixture
def folder(tmp_path, random_params) -> Path:
    """Generated data, and a teacher and a student that know nothing yet."""
    from tokenizers import ByteLevelBPETokenizer

    train_data, dev = make_squad(SyntheticConfig(train_articles=2, dev_articles=1, paragraphs_per_article=2))
    for name, content in (("train", train_data), ("dev", dev)):
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    articles = [*train_data["data"], *dev["data"]]
    contexts = [paragraph["context"] for article in articles for paragraph in article["paragraphs"]]
    bpe = ByteLevelBPETokenizer()
    specials = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    bpe.train_from_iterator(contexts, vocab_size=600, special_tokens=specials, show_progress=False)
    (tmp_path / "vocabulary").mkdir()
    bpe.save_model(str(tmp_path / "vocabulary"))
    tokenizer = load_tokenizer(tmp_path / "vocabulary")
    for seed, (name, layers) in enumerate((("teacher", 2), ("student", 1))):
        shape = {"vocab_size": len(tokenizer), "num_hidden_layers": layers, "pad_token_id": 1, **SIZES}
        config = BertConfig(model_type="roberta", type_vocab_size=1, **shape)
        save_pretrained(tmp_path / name, config, random_params(BertForQuestionAnswering(config), seed), tokenizer)
    return tmp_path


def test_a_roberta_is_distilled_in_fewer_tokens_exported_and_scored(folder):
    arguments = ["minilm-3l-squad2", "--cache", folder / "cache", "--output", folder / "run"]
    arguments += ["--student-from-teacher", "None"]
    for name, file in (("teacher", "teacher"), ("student", "student"), ("train", "train.json"), ("dev", "dev.json")):
        arguments += [f"--{name}", folder / file]
    arguments += ["--windows.max-seq-len", "128", "--windows.doc-stride", "16", "--buckets", "128"]
    for stage in ("teacher-stages.0", "stages.0", "stages.1"):
        arguments += [f"--{stage}.batch-size", "4", f"--{stage}.max-steps", "3"]
    results = train.train(*train.parse([*map(str, arguments), "--no-compare-undistilled", "--trim-vocabulary"]))
    assert set(results) == {"teacher", "student", "seconds"}

    config, _ = load_pretrained(folder / "run" / "export")
    assert config.vocab_size < load_pretrained(folder / "teacher")[0].vocab_size
    assert (config.model_type, config.num_hidden_layers) == ("roberta", 1)
    assert "A model of the RoBERTa family" in (folder / "run" / "export" / "README.md").read_text()
    windows = WindowConfig(max_seq_len=128, doc_stride=16)
    metrics = evaluate.score_model(str(folder / "run" / "export"), str(folder / "dev.json"), windows=windows).metrics
    assert metrics["f1"] == pytest.approx(results["student"]["f1"], abs=0.01)

import unicodedata

import numpy as np
import pytest

from tests.data.windows_by_hand import assert_same, example
from tinybert_jax.data import WindowConfig, build_windows, read_dataset
from tinybert_jax.data.squad_writer import paragraphs_of, write_squad
from tinybert_jax.errors import UserError
from tinybert_jax.scoring import find_answers, squad_metrics

EXAMPLES = [
    example("a b c d e f", answers=[("c", 4)], id_="1"),
    example("a b c d e f", "r s", id_="2"),
    example("x", answers=[("x", 0)], id_="3"),
    example("y z", answers=[("z", 2)], id_="4"),
]
CONFIG = WindowConfig(max_seq_len=9, doc_stride=2)


@pytest.fixture(params=["data.json", "data.arrow"])
def source(request, tmp_path):
    write_squad(tmp_path / request.param, paragraphs_of(EXAMPLES))
    return str(tmp_path / request.param)


def test_questions_come_with_their_windows(source, tokenizer, tmp_path):
    data = read_dataset(source, tokenizer, CONFIG, tmp_path / "cache")
    assert list(data.examples) == EXAMPLES
    assert sorted(set(data.windows.example)) == [0, 1, 2, 3]
    assert data.key


def test_a_sample_of_the_questions(source, tokenizer, tmp_path):
    whole = read_dataset(source, tokenizer, CONFIG, tmp_path / "cache", questions=9)
    assert list(whole.examples) == EXAMPLES
    samples = [read_dataset(source, tokenizer, CONFIG, tmp_path / "cache", 2, seed) for seed in range(8)]
    assert all(len(sample.examples) == len(set(sample.windows.example)) == 2 for sample in samples)
    chosen = {tuple(one.id for one in sample.examples) for sample in samples}
    assert len(chosen) > 1
    assert all(first < second for first, second in chosen)


def test_sources_give_one_data_set(tokenizer, tmp_path):
    made = []
    for name in ("data.json", "data.arrow"):
        write_squad(tmp_path / name, paragraphs_of(EXAMPLES))
        made += [read_dataset(str(tmp_path / name), tokenizer, CONFIG, tmp_path / "cache", n, 3) for n in (None, 2)]
    for one, other in zip(made[:2], made[2:], strict=True):
        assert list(one.examples) == list(other.examples)
        assert_same(one.windows, other.windows)


def test_answers_are_found_and_scored(source, tokenizer, tmp_path):
    data = read_dataset(source, tokenizer, CONFIG, tmp_path / "cache")
    logits = np.zeros((len(data.windows.tokens), 2), np.float32)
    logits[data.windows.row_splits[:-1] + data.windows.start, 0] = 5
    logits[data.windows.row_splits[:-1] + data.windows.end, 1] = 5
    found = find_answers(data.examples, data.windows, logits)
    assert found.predictions == {"1": "c", "2": "", "3": "x", "4": "z"}
    assert squad_metrics(data.examples, found.predictions)["exact"] == 100


@pytest.mark.parametrize(
    "answer", ["Kraków", unicodedata.normalize("NFD", "Kraków é"), "كتابٌ", "❤\ufe0f", "zero\u200b"], ids=ascii
)
def test_an_answer_is_scored_with_what_the_tokenizer_removed(tokenizer, answer):
    examples = [example(f"It is {answer} and more", answers=[(answer, 6)])]
    windows = build_windows(examples, tokenizer, WindowConfig(max_seq_len=60))
    logits = np.zeros((len(windows.tokens), 2), np.float32)
    logits[windows.start[0], 0] = logits[windows.end[0], 1] = 5
    predictions = find_answers(examples, windows, logits).predictions
    assert predictions == {"id": answer}
    assert squad_metrics(examples, predictions)["exact"] == 100


def test_a_bad_question_is_found_before_windows_are_cut(tokenizer, tmp_path, monkeypatch):
    monkeypatch.setattr("tinybert_jax.data.dataset.load_windows", lambda *_: pytest.fail("cut"))
    write_squad(tmp_path / "data.arrow", paragraphs_of([*EXAMPLES, example("a", answers=[("b", 0)], id_="5")]))
    with pytest.raises(UserError, match="question '5': the answer 'b' is not at its offset 0"):
        read_dataset(str(tmp_path / "data.arrow"), tokenizer, CONFIG, tmp_path / "cache")

from dataclasses import replace

import numpy as np
import pytest

from tests.data.windows_by_hand import assert_same, columns, example
from tests.store.one_by_one import contents, made_by
from tinybert_jax.data import WindowConfig, build_windows, load_windows
from tinybert_jax.data.arrow import ArrowExamples
from tinybert_jax.data.squad_writer import paragraphs_of, write_squad


def test_the_cache_holds_the_same_windows(tokenizer, tmp_path, monkeypatch):
    examples = [example("a b c d e f", answers=[("c", 4)]), example("x", "r s")]
    config = WindowConfig(max_seq_len=9, doc_stride=2)
    built = build_windows(examples, tokenizer, config)
    assert_same(load_windows(examples, tokenizer, config, None), built)
    assert_same(load_windows(examples, tokenizer, config, tmp_path / "new"), built)
    monkeypatch.setattr("tinybert_jax.data.window_cache.build_windows", None)  # from here on only the cache serves
    tokenizer("a", truncation=True, max_length=8, padding="max_length")  # leaves its traces in the backend
    cached = load_windows(examples, tokenizer, config, tmp_path / "new")
    assert_same(cached, built)
    assert all(isinstance(column, np.memmap) for column in columns(cached).values())
    assert len(list((tmp_path / "new" / "windows").iterdir())) == 1


def test_the_cache_key_is_all_that_decides_the_windows(tokenizer, tmp_path):
    base = example("a b c", answers=[("c", 4)])
    changed = [replace(base, question="r"), replace(base, context="a b d"), replace(base, answers=())]
    for examples in ([base], *([one] for one in changed), [base, base]):
        load_windows(examples, tokenizer, WindowConfig(), tmp_path)
    assert len(list((tmp_path / "windows").iterdir())) == 5
    load_windows([base], tokenizer, WindowConfig(doc_stride=64), tmp_path)
    assert len(list((tmp_path / "windows").iterdir())) == 6
    load_windows([replace(base, id="other", title="t")], tokenizer, WindowConfig(), tmp_path)
    assert len(list((tmp_path / "windows").iterdir())) == 6


@pytest.mark.parametrize("damage", ["truncated", "empty", "missing", "foreign", "one bit"])
def test_a_damaged_cache_is_built_again(tokenizer, tmp_path, damage):
    examples = [example("a b c", answers=[("c", 4)])]
    built = load_windows(examples, tokenizer, WindowConfig(), tmp_path)
    tokens = built.tokens.copy()
    (path,) = tmp_path.glob("windows/*/tokens.npy")
    match damage:
        case "truncated":
            path.write_bytes(path.read_bytes()[:-4])
        case "empty":
            path.write_bytes(b"")
        case "missing":
            path.unlink()
        case "foreign":
            np.save(path, np.arange(3))
        case "one bit":
            content = path.read_bytes()
            path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.warns(UserWarning, match=r"windows/\w+ in the cache is damaged \(tokens\.npy\): it is made again"):
        again = load_windows(examples, tokenizer, WindowConfig(), tmp_path)
    np.testing.assert_array_equal(again.tokens, tokens)
    assert path.stat().st_size > 4 * len(tokens)


def test_data_is_windowed_in_blocks_as_a_whole(tokenizer, tmp_path, monkeypatch):
    examples = [example("a b c d e f", answers=[("c", 4)]), example("x", "r s", id_="2"), example("", id_="3")]
    examples += [example("x", "t", id_="4"), example("a b c d e", answers=[("e", 8)], id_="5")]
    config = WindowConfig(max_seq_len=9, doc_stride=2)
    monkeypatch.setattr("tinybert_jax.data.window_cache._BLOCK", 2)
    built = build_windows(examples, tokenizer, config)
    assert len(built) > len(examples)
    assert_same(load_windows(Stream(examples), tokenizer, config, tmp_path / "blocks"), built)


class Stream:
    """Examples that can be counted, iterated and nothing else."""

    def __init__(self, examples):
        self.examples = examples

    def __len__(self):
        return len(self.examples)

    def __iter__(self):
        return iter(self.examples)


def test_an_arrow_file_gives_the_windows_of_its_questions(tokenizer, tmp_path):
    examples = [
        example("a b c d e f", answers=[("c", 4)]),
        example("a b c d e f", "r s", id_="2"),
        example("x", id_="3"),
    ]
    write_squad(tmp_path / "data.arrow", paragraphs_of(examples))
    config = WindowConfig(max_seq_len=9, doc_stride=2)
    loaded = load_windows(ArrowExamples(tmp_path / "data.arrow"), tokenizer, config, tmp_path / "cache")
    assert_same(loaded, build_windows(examples, tokenizer, config))
    (tmp_path / "data.arrow").unlink()
    write_squad(tmp_path / "data.arrow", paragraphs_of(examples[:1]))
    assert len(load_windows(ArrowExamples(tmp_path / "data.arrow"), tokenizer, config, tmp_path / "cache")) == 2


@pytest.mark.parametrize("kind", ["list", "arrow"])
def test_several_processes_cut_the_windows_of_one(tokenizer, tmp_path, monkeypatch, kind):
    examples = [example("a b c d e f"[: 2 * i], "r s t"[: i % 3 * 2], id_=str(i)) for i in range(7)]
    monkeypatch.setattr("tinybert_jax.data.window_cache._BLOCK", 2)
    monkeypatch.setattr("tinybert_jax.data.arrow._ROWS", 2)
    if kind == "arrow":
        write_squad(tmp_path / "data.arrow", paragraphs_of(examples))
        examples = ArrowExamples(tmp_path / "data.arrow")
    for name, count in (("alone", 1), ("three", 3)):
        made_by(count, lambda name=name: load_windows(examples, tokenizer, WindowConfig(9, 2), tmp_path / name))
    alone, three = (next((tmp_path / name / "windows").iterdir()) for name in ("alone", "three"))
    assert contents(alone) == contents(three)

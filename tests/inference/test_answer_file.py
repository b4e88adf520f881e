"""A file of questions: in order, line by line, and continued to the same bytes."""

import json

import pytest
from filelock import FileLock

from tests.inference.test_answerer import answerer
from tinybert_jax.errors import UserError
from tinybert_jax.inference.answer_file import answer_file

JOB = {"model": "m", "top_k": 1}


def write(path, *lines):
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def question(name, context="a xz", text="q"):
    return json.dumps({"id": name, "question": text, "context": context})


@pytest.fixture
def source(tmp_path):
    bad = "no json", question("empty", context=" ")
    good = [question(i, context="a xz" + "b" * i) for i in range(5)]
    return write(tmp_path / "in.jsonl", bad[0], *good[:3], "", bad[1], *good[3:], bad[0])


def read(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_a_line_for_each_question_in_order(tokenizer, source, tmp_path):
    output = tmp_path / "new" / "out.jsonl"
    answer_file(answerer(tokenizer, batch_size=1), source, output, 8, 1, JOB)
    lines = read(output)
    assert [line["id"] for line in lines] == [None, 0, 1, 2, "empty", 3, 4, None]
    assert [line.get("text") for line in lines] == [None, "xz", "xz", "xz", None, "xz", "xz", None]
    assert [line.get("line") for line in lines] == [1, None, None, None, 6, None, None, 9]
    assert lines[0]["error"].startswith("not valid JSON")
    assert lines[1].keys() == {"id", "text", "start", "end", "score", "probability", "null_odds", "passage"}
    assert [path.name for path in output.parent.iterdir()] == ["out.jsonl"]


def test_more_answers_follow_the_first(tokenizer, tmp_path):
    source = write(tmp_path / "in.jsonl", question("a", context=["b xy", "c xz"]))
    answer_file(answerer(tokenizer), source, tmp_path / "out.jsonl", 1, 2, JOB)
    (line,) = read(tmp_path / "out.jsonl")
    assert (line["text"], line["passage"]) == ("xz", 1)
    assert [(other["text"], other["passage"]) for other in line["others"]] == [("xy", 0)]


@pytest.mark.parametrize("cut", [0, 3], ids=["whole lines", "a line cut off"])
@pytest.mark.parametrize("after", [1, 4])
def test_what_was_cut_off_continues_to_the_same_file(tokenizer, source, tmp_path, monkeypatch, after, cut):
    whole, output = tmp_path / "whole.jsonl", tmp_path / "out.jsonl"
    one_by_one = answerer(tokenizer, batch_size=1)
    monkeypatch.setattr("tinybert_jax.inference.answerer._BLOCK_BATCHES", 1)
    answer_file(one_by_one, source, whole, 8, 1, JOB)
    asked, real = [], one_by_one._answer

    def interrupted(pairs, *rest):
        if len(asked) == after:
            raise KeyboardInterrupt
        asked.append(pairs)
        yield from real(pairs, *rest)

    monkeypatch.setattr(one_by_one, "_answer", interrupted)
    with pytest.raises(KeyboardInterrupt):
        answer_file(one_by_one, source, output, 8, 1, JOB)
    assert not output.exists()
    answers = tmp_path / ".out.jsonl.unfinished" / "answers.jsonl"
    assert answers.stat().st_size
    if cut:
        with answers.open("rb+") as file:
            file.truncate(answers.stat().st_size - cut)
    monkeypatch.setattr(one_by_one, "_answer", real)
    answer_file(one_by_one, source, output, 8, 1, JOB)
    assert output.read_bytes() == whole.read_bytes()


def begin(tokenizer, source, output):
    """Leaves an unfinished job behind."""
    with pytest.raises(UserError, match="finite"):
        broken = answerer(tokenizer)
        broken._network.logits[:] = float("nan")
        answer_file(broken, source, output, 8, 1, JOB)


def test_other_settings_or_questions_do_not_continue_it(tokenizer, source, tmp_path):
    output = tmp_path / "out.jsonl"
    begin(tokenizer, source, output)
    with pytest.raises(UserError, match=r"begun with other settings \(top_k\)"):
        answer_file(answerer(tokenizer), source, output, 8, 2, {**JOB, "top_k": 2})
    source.write_text(source.read_text() + question("more") + "\n")
    with pytest.raises(UserError, match=r"begun with other settings \(questions\): .*unfinished to begin again"):
        answer_file(answerer(tokenizer), source, output, 9, 1, JOB)


def test_two_processes_do_not_write_one_file(tokenizer, source, tmp_path):
    output = tmp_path / "out.jsonl"
    begin(tokenizer, source, output)
    with (
        FileLock(tmp_path / ".out.jsonl.unfinished" / "lock"),
        pytest.raises(UserError, match="another process is writing"),
    ):
        answer_file(answerer(tokenizer), source, output, 8, 1, JOB)

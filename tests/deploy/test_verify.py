"""What a verification finds, and what it cannot look at."""

import shutil

import pytest

from tinybert_jax.deploy import certificate, verify
from tinybert_jax.errors import UserError
from tinybert_jax.store.files import read_json, write_json


@pytest.fixture
def copy(certified, tmp_path):
    shutil.copytree(certified / "out", tmp_path / "copy")
    return tmp_path / "copy"


def edit(folder, **changes):
    """Writes another certificate; changes are nested mappings."""

    def merged(old, new):
        return {**old, **{key: merged(old[key], v) if isinstance(v, dict) else v for key, v in new.items()}}

    write_json(folder / "certificate.json", merged(read_json(folder / "certificate.json"), changes))


def test_a_copied_folder_agrees_exactly(copy):
    verdict = verify.verify(copy)
    assert (verdict.differences, verdict.notes) == ([], [])
    assert verdict.summary == (
        f"{copy}: its 5 files are those that were certified, and EM and F1 of teacher, student, undistilled student, "
        "ONNX fp32, ONNX int8 agree exactly"
    )


def test_a_flipped_bit_is_found_and_its_file_named(copy):
    path = copy / "onnx" / "model.onnx"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x01
    path.write_bytes(content)
    assert verify.verify(copy).differences[0] == "onnx/model.onnx has changed"


def test_a_file_that_is_ruined_missing_or_new_is_named(copy):
    (copy / "onnx" / "model.onnx").write_bytes(b"garbage")
    (copy / "tokenizer_config.json").unlink()
    (copy / "question_answering.json").write_text('{"null_threshold": 1000}')
    (copy / ".gitattributes").touch()
    lines = verify.verify(copy).differences
    assert lines[:3] == [
        "onnx/model.onnx has changed",
        "question_answering.json was not there",
        "tokenizer_config.json is missing",
    ]
    assert lines[3].startswith("ONNX fp32: cannot be measured: onnxruntime cannot read ")


def test_figures_that_differ_are_told_old_and_new(copy):
    row = read_json(copy / "certificate.json")["models"]["teacher"]
    edit(copy, models={"teacher": {"f1": row["f1"] + 0.01}})
    assert verify.verify(copy).differences == [f"teacher: F1 was {row['f1'] + 0.01:.4f}, is {row['f1']:.4f}"]


def test_elsewhere_a_question_or_two_may_score_otherwise_and_no_more(copy):
    row = read_json(copy / "certificate.json")["models"]["ONNX int8"]
    edit(copy, measured_on={"processor": "Another"}, models={"ONNX int8": {"f1": row["f1"] + 8}})
    verdict = verify.verify(copy)
    assert verdict.differences == []
    assert verdict.notes[0].startswith("processor: Another in the certificate, ")
    assert "agree within 4.17, in int8 8.17: other processors" in verdict.summary
    edit(copy, models={"ONNX int8": {"f1": row["f1"] + 8.5}})
    assert len(verify.verify(copy).differences) == 1


@pytest.mark.parametrize(
    ("label", "questions", "percent"),
    [("student", 10_000, 0.1265), ("ONNX fp32", 10_000, 0.1265), ("ONNX int8", 10_000, 0.4), ("teacher", 10, 10)],
)
def test_a_tolerance_is_four_deviations_or_a_question(label, questions, percent):
    assert verify._tolerance(label, questions) == pytest.approx(percent + 1e-4, abs=1e-4)


def test_another_version_is_a_note_alone(copy):
    edit(copy, versions={"jax": "0.0.1"})
    verdict = verify.verify(copy)
    assert verdict.differences == []
    assert verdict.notes[0].startswith("jax: 0.0.1 in the certificate, ")


def test_a_model_that_has_moved_is_said_or_shown_where_it_is(copy, certified):
    edit(copy, models={"teacher": {"model": "./gone"}})
    verdict = verify.verify(copy)
    assert verdict.differences == [] and "EM and F1 of student, " in verdict.summary
    assert verdict.notes[0].startswith("the teacher is not measured again: ") and "./gone" in verdict.notes[0]
    others = {certificate.TEACHER: str(certified / "teacher")}
    assert "EM and F1 of teacher, student, " in verify.verify(copy, others=others).summary
    wrong = verify.verify(copy, others={certificate.TEACHER: str(certified / "plain")}).differences
    assert wrong[0] == f"teacher: {certified / 'plain'} has other weights"
    with pytest.raises(UserError, match=r"there is no folder '\./gone'"):
        verify.verify(copy, others={certificate.TEACHER: "./gone"})


def test_data_that_has_moved_leaves_the_files(copy, certified):
    edit(copy, data={"source": "gone.json"})
    verdict = verify.verify(copy)
    assert (verdict.differences, verdict.summary) == ([], f"{copy}: its 5 files are those that were certified")
    [note] = verdict.notes
    assert note.startswith("without --data FILE nothing is measured again, only the files are compared: gone.json does")
    assert "agree exactly" in verify.verify(copy, str(certified / "data.json")).summary
    with pytest.raises(UserError, match=r"nowhere\.json does not exist"):
        verify.verify(copy, "nowhere.json")


@pytest.mark.parametrize(
    ("part", "change"),
    [("question", "other"), ("id", "other"), ("answers", [{"text": "b", "answer_start": 0}] * 2)],
    ids=["question", "id", "answers"],
)
def test_other_data_is_refused(copy, certified, tmp_path, part, change):
    squad = read_json(certified / "data.json")
    squad["data"][0]["paragraphs"][1]["qas"][0][part] = change
    write_json(tmp_path / "data.json", squad)
    with pytest.raises(UserError, match=r"data\.json must hold the 24 questions that were certified"):
        verify.verify(copy, str(tmp_path / "data.json"))


def test_a_model_that_was_not_certified_is_refused(certified, tmp_path):
    shutil.copytree(certified / "student", tmp_path / "student")
    questions = certificate.read_questions(str(certified / "data.json"), {})
    found = certificate.certify(tmp_path / "student", questions, {})
    assert list(found["models"]) == ["student"] and found["models"]["student"]["differences"] == {}
    assert "agree exactly" in verify.verify(tmp_path / "student").summary
    for label in (certificate.TEACHER, certificate.STUDENT):  # the one it does not have, and the one it holds
        with pytest.raises(
            UserError, match=rf"the {label} must be among the certificate's models from elsewhere: none"
        ):
            verify.verify(tmp_path / "student", others={label: str(certified / "teacher")})

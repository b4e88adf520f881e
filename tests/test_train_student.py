"""A run that makes its student of its teacher: of which weights, and what is refused."""

import dataclasses
import sys

import pytest

from tests.tiny_run import Kill, equal, tiny_arguments
from tinybert_jax import train
from tinybert_jax.errors import UserError, run_script
from tinybert_jax.model import cut_student, load_pretrained, load_qa_model
from tinybert_jax.run.recipe_file import write_recipe

pytestmark = pytest.mark.usefixtures("quick_runs")


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    """A teacher of two layers, trained first, and a student of one of them. `test_train` compiles all of it too."""
    arguments = [*tiny_arguments(tmp_path_factory.mktemp("cache")), "--no-compare-undistilled"]
    return train.parse([*arguments, "--student-from-teacher", "1", "--output", "none"])[0]


@pytest.fixture(scope="module")
def run(recipe, tmp_path_factory):
    """The folder of a run that was killed in the middle of its student's stage and continued, and its students."""
    output, begun, train_stage = tmp_path_factory.mktemp("run") / "killed", [], train.train_stage

    def watched(work, run):
        if work.name == "student/1-intermediate":
            begun.append(work.model)
        return train_stage(work, run)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "train_stage", watched)
        with pytest.raises(KeyboardInterrupt):
            train.train(recipe, output, hooks=(Kill(30),))  # the teacher's stage ends with step 10
        train.train(recipe, output)
    return output, begun


def test_the_student_begins_as_a_layer_of_the_trained_teacher_each_time(run):
    output, begun = run
    expected = cut_student(load_qa_model(str(output / "teacher" / "1-finetune" / "final")), [1])
    assert [student.config for student in begun] == [expected.config] * 2
    assert all(equal(student.params, expected.params) for student in begun)
    untrained = load_pretrained(output / "synthetic" / "teacher")[1]
    assert not equal(expected.params["bert"]["embeddings"], untrained["bert"]["embeddings"])
    assert load_qa_model(str(output / "export")).config == expected.config


def test_the_card_says_what_it_is_made_of(run):
    card = (run[0] / "export" / "README.md").read_text()
    assert "- Cut from the teacher: layers 1\n" in card
    assert "- Started from: `generated teacher`" in card
    assert "generated student" not in card


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"student_from_teacher": "3"}, "layers of the teacher must be 1 to 2, got 3"),
        ({"student_from_teacher": "0,5"}, "must be from 0 to 1, as it has 2, got 0,5"),
        ({"student_positions": 200}, "positions of the student must be 1 to 128, got 200"),
        ({"student_width": 15}, "width of the student must be a multiple of 8, the units of a teacher's head"),
        ({"student_width": 8, "student_heads": 3}, "heads of the student must be a divisor of its width 8, got 3"),
        ({"student_positions": 64}, "must be at least windows.max_seq_len = 128, got 64: raise it, or lower"),
    ],
    ids=["layers", "list", "positions", "width", "heads", "windows"],
)
def test_what_the_teacher_does_not_have_is_refused_before_anything_is_written(recipe, tmp_path, changes, message):
    with pytest.raises(UserError, match=message):
        train.train(dataclasses.replace(recipe, **changes), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--student-from-teacher", "1"], "student_from_teacher 1 needs a teacher, got none: give --teacher\n"),
        (["--student-positions", "96"], "student_positions 96 shapes a student that is made of its teacher: give"),
    ],
    ids=["teacher", "positions"],
)
def test_a_cut_without_its_teacher_ends_with_status_2(recipe, tmp_path, monkeypatch, capsys, flags, message):
    alone = {"teacher": None, "teacher_stages": (), "stages": recipe.teacher_stages, "student_from_teacher": None}
    write_recipe(tmp_path / "recipe.json", dataclasses.replace(recipe, **alone))
    monkeypatch.setattr(sys, "argv", ["train", str(tmp_path / "recipe.json"), *flags, "--output", str(tmp_path / "o")])
    with pytest.raises(SystemExit) as exit_:
        run_script(train.main)
    assert exit_.value.code == 2
    assert capsys.readouterr().err.startswith(f"error: {message}")

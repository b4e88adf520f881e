"""The student of a recipe that makes one of its teacher."""

from tinybert_jax.errors import UserError
from tinybert_jax.model import Model, cut_student, layers_of, narrow_student
from tinybert_jax.run.recipe import Recipe


def student_source(recipe: Recipe) -> str:
    """The model whose weights the student starts with, and whose tokenizer it has."""
    if recipe.student_from_teacher is None:
        return recipe.student
    assert recipe.teacher is not None  # the recipe was refused otherwise
    return recipe.teacher


def student_of(recipe: Recipe, teacher: Model | None) -> Model | None:
    """The student that the recipe makes of a teacher; None where it names a student.

    It depends on the teacher alone: a run that continues makes it again of the trained teacher that it finds on disk.

    Raises:
        UserError: the teacher does not have what the recipe asks for.
    """
    if recipe.student_from_teacher is None:
        return None
    assert teacher is not None  # the recipe was refused otherwise
    windows, positions = recipe.windows.max_seq_len, recipe.student_positions
    if positions is not None and positions < windows:
        raise UserError(
            f"student_positions must be at least windows.max_seq_len = {windows}, got {positions}: raise it, or lower "
            "--windows.max-seq-len"
        )
    layers = layers_of(recipe.student_from_teacher, teacher.config.num_hidden_layers)
    student = cut_student(teacher, layers, positions)
    width, heads = recipe.student_width, recipe.student_heads
    if width is None and heads is None:
        return student
    return narrow_student(student, teacher.config.hidden_size if width is None else width, heads)


def how_made(recipe: Recipe) -> dict[str, str]:
    """What the recipe changed of the models that it names, for the model card."""
    made = {}
    if recipe.student_from_teacher is not None:
        parts = {"layers": recipe.student_from_teacher} | {
            name: getattr(recipe, f"student_{name}") for name in ("width", "heads", "positions")
        }
        made["Cut from the teacher"] = ", ".join(f"{name} {value}" for name, value in parts.items() if value)
    if recipe.trim_vocabulary:
        made["Vocabulary"] = "trimmed to the tokens of the training data"
    return made

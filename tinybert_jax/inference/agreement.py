"""How far a model agrees with its teacher, each with a tokenizer and settings of its own."""

from collections.abc import Sequence

from tinybert_jax.data import Dataset, Example, build_windows
from tinybert_jax.inference.evaluate import Evaluation, answer, evaluate_against
from tinybert_jax.inference.loading import Loaded


def agreement_of(student: Loaded, teacher: Loaded, examples: Sequence[Example], batch_size: int = 32) -> Evaluation:
    """Compares two models' answers to the same questions, labelled or not.

    The teacher is given the student's windows, where it has the positions, so that logits can be compared if the
    tokenizers agree; what it takes for "no answer" is its own.

    Args:
        student: the model that is measured.
        teacher: the model whose answers are taken for the gold ones.
        examples: the questions.
        batch_size: windows in a forward pass.

    Raises:
        UserError: a logit is not finite, or a question leaves a window no room.
    """
    positions = min(loaded.network.config.max_positions for loaded in (student, teacher))
    config = student.settings.windows.fitted(positions)
    ours, theirs = (
        Dataset(examples, build_windows(examples, loaded.tokenizer, config)) for loaded in (student, teacher)
    )
    said = answer(teacher.network, theirs, teacher.settings.answering, batch_size=batch_size)
    return evaluate_against(student.network, ours, said, student.settings.answers, batch_size=batch_size)

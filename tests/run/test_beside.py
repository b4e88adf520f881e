"""What a stage that diverges is told to have read."""

from types import SimpleNamespace

import numpy as np
import pytest

from tinybert_jax.data import Dataset, Example
from tinybert_jax.errors import NotFinite, UserError
from tinybert_jax.run.beside import divergence_told

WINDOWS = SimpleNamespace(example=np.array([0, 0, 1, 2]))
QUESTIONS = [Example(name, "q", "c", ()) for name in ("a", "b", "c")]


@pytest.mark.parametrize(
    ("examples", "told"),
    [(QUESTIONS, "The step's questions: a, b. "), ((), "The step's rows of the corpus: 0, 1, 2. ")],
    ids=["questions", "corpus"],
)
def test_it_is_told_what_the_step_read(examples, told):
    ingredients = SimpleNamespace(data_of=lambda stage: Dataset(examples, WINDOWS))
    epochs = SimpleNamespace(windows_at=lambda step: np.arange(step))
    with (
        pytest.raises(UserError, match=rf"loss is nan at step 4; .*\. {told}Step 2 is kept"),
        divergence_told(None, ingredients, epochs, SimpleNamespace(last="Step 2 is kept")),
    ):
        raise NotFinite("loss is nan", 4)

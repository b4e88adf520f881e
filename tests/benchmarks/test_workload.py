from collections import Counter

import numpy as np
import pytest

from benchmarks.common import Shape
from benchmarks.workload import Source, make_workload, random_windows, steps_at
from tinybert_jax.data import Epochs, Windows
from tinybert_jax.errors import UserError

SHAPE = Shape(batch=4, length=48, vocab=100)
BUCKETS = (12, 24, 48)


@pytest.fixture(scope="module")
def windows():
    return random_windows(SHAPE, 101)


@pytest.mark.parametrize("buckets", [BUCKETS, (*BUCKETS, 96)])  # the last of which holds none
@pytest.mark.parametrize("times", [1, 3])
def test_steps_are_those_of_the_epochs_that_training_takes(windows, times, buckets):
    columns = {name: np.concatenate([column] * times) for name, column in vars(windows).items()}
    columns["row_splits"] = np.concatenate([[0], np.cumsum(np.tile(windows.lengths, times))])
    again = Windows(**columns)
    epochs = Epochs(again, 4, buckets, seed=0)
    lengths = [epochs.batch_at(step).input_ids.shape[1] for step in range(epochs.steps_per_epoch)]
    assert steps_at(windows, buckets, 4, times) == Counter(lengths)


def test_a_workload_is_full_batches_and_their_shares(windows):
    load = make_workload(windows, 4, BUCKETS)
    assert sum(load.shares.values()) == pytest.approx(1)
    assert load.mean({12: 1.0, 24: 2.0, 48: 4.0}) == pytest.approx(
        load.shares[12] + 2 * load.shares[24] + 4 * load.shares[48]
    )
    for length, some in load.batches.items():
        for batch in some:
            assert batch.input_ids.shape == (4, length) and batch.attention_mask.any(1).all()
            assert batch.teacher_logits.shape == (4, length, 2)


def test_data_needs_a_tokenizer():
    with pytest.raises(UserError, match="--data and --tokenizer go together"):
        Source(data="squad.json")

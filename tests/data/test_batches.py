import numpy as np
import pytest

from tinybert_jax.data import Batch, Epochs, Windows, collate, default_buckets, eval_batches
from tinybert_jax.errors import UserError


def make_windows(lengths):
    """Windows of these lengths, each with 1 question token; window w's tokens are 100 w, 100 w + 1, …"""
    lengths = np.asarray(lengths, int)
    count = len(lengths)
    position = np.concatenate([np.arange(0), *map(np.arange, lengths)])
    return Windows(
        tokens=(100 * np.repeat(np.arange(count), lengths) + position).astype(np.int32),
        offsets=np.zeros((lengths.sum(), 2), np.int32),
        row_splits=np.concatenate([[0], np.cumsum(lengths)]),
        context_begin=np.full(count, 3, np.int32),
        example=np.arange(count, dtype=np.int32),
        start=np.arange(count, dtype=np.int32),
        end=np.arange(count, dtype=np.int32) + 1,
    )


def batch_windows(batch):
    """The windows of a batch, told by their first token."""
    return (batch.input_ids[batch.attention_mask.any(axis=1), 0] // 100).tolist()


def assert_equal(a, b):
    for x, y in zip(a, b, strict=True):
        np.testing.assert_array_equal(x, y)


def test_collate_by_hand():
    batch = collate(make_windows([4, 6, 5]), np.array([2, 0]), length=6, batch_size=3)
    assert batch.input_ids.tolist() == [[200, 201, 202, 203, 204, 0], [0, 1, 2, 3, 0, 0], [0] * 6]
    assert batch.token_type_ids.tolist() == [[0, 0, 0, 1, 1, 0], [0, 0, 0, 1, 0, 0], [0] * 6]
    assert batch.attention_mask.sum(axis=1).tolist() == [5, 4, 0]
    assert batch.attention_mask[0].tolist() == [True] * 5 + [False]
    assert batch.start.tolist() == [2, 0, 0]
    assert batch.end.tolist() == [3, 1, 0]
    assert [column.dtype for column in batch[:-1]] == [np.int32, np.int32, np.bool_, np.int32, np.int32]
    assert batch.teacher_logits is None


def test_collate_refuses_what_does_not_fit():
    windows = make_windows([4, 6])
    with pytest.raises(ValueError, match=r"up to 6 tokens do not fit a batch of \(2, 5\)"):
        collate(windows, np.array([0, 1]), length=5, batch_size=2)
    with pytest.raises(ValueError, match="2 windows"):
        collate(windows, np.array([0, 1]), length=6, batch_size=1)


@pytest.mark.parametrize(
    ("max_seq_len", "buckets"),
    [(384, (128, 192, 256, 384)), (512, (128, 192, 256, 384, 512)), (200, (128, 192, 200)), (64, (64,))],
)
def test_default_buckets(max_seq_len, buckets):
    assert default_buckets(max_seq_len) == buckets


@pytest.fixture
def windows():
    return make_windows(np.random.default_rng(0).integers(4, 41, 103))


BUCKETS = (10, 20, 40)


@pytest.mark.parametrize("batch_size", [1, 8, 103, 200])
def test_every_window_once_an_epoch(windows, batch_size):
    epochs = Epochs(windows, batch_size, BUCKETS, seed=1)
    assert epochs.steps_per_epoch == -(-103 // batch_size)
    for epoch in range(2):
        begin = epoch * epochs.steps_per_epoch
        batches = [epochs.batch_at(begin + step) for step in range(epochs.steps_per_epoch)]
        assert sorted(w for batch in batches for w in batch_windows(batch)) == list(range(103))
        assert sum(len(batch_windows(batch)) < batch_size for batch in batches) == (103 % batch_size > 0)


def test_every_row_is_its_window(windows):
    epochs = Epochs(windows, 8, BUCKETS, seed=1)
    for step in range(epochs.steps_per_epoch):
        batch = epochs.batch_at(step)
        length = batch.input_ids.shape[1]
        assert isinstance(batch, Batch)
        assert_equal(batch, collate(windows, np.array(batch_windows(batch)), length, 8))
        assert batch.attention_mask.sum(axis=1).tolist()[: len(batch_windows(batch))] == [
            windows.lengths[w] for w in batch_windows(batch)
        ]


def test_a_batch_is_as_short_as_its_bucket(windows):
    epochs = Epochs(windows, 8, BUCKETS, seed=1)
    batches = [epochs.batch_at(step) for step in range(epochs.steps_per_epoch)]
    lengths = [batch.input_ids.shape[1] for batch in batches]
    for batch, length in zip(batches, lengths, strict=True):
        longest = batch.attention_mask.sum(axis=1).max()
        assert length == min(bucket for bucket in BUCKETS if bucket >= longest)
    per_bucket = np.bincount(np.searchsorted(BUCKETS, windows.lengths))
    assert lengths.count(10) == per_bucket[0] // 8  # what is left over joins the next bucket
    assert lengths.count(10) + lengths.count(20) == per_bucket[:2].sum() // 8


def test_short_windows_alone_do_not_use_long_buckets():
    epochs = Epochs(make_windows([5] * 5), 2, BUCKETS, seed=0)
    assert {epochs.batch_at(step).input_ids.shape for step in range(3)} == {(2, 10)}


def test_batches_are_a_function_of_seed_and_step_alone(windows):
    def batches(steps, seed=1):
        epochs = Epochs(windows, 8, BUCKETS, seed)
        return {step: epochs.batch_at(step) for step in steps}

    forward, backward = batches(range(30)), batches(reversed(range(30)))
    for step in range(30):
        assert_equal(forward[step], backward[step])
    assert_equal(batches([29])[29], forward[29])
    first, second = ([batch_windows(forward[e * 13 + s]) for s in range(13)] for e in range(2))
    assert first != second
    assert [batch_windows(batch) for batch in batches(range(13), seed=2).values()] != first


def test_processes_make_their_rows_of_a_batch_and_the_last_ones_filler(windows):
    logits = np.random.default_rng(0).normal(size=(len(windows.tokens), 2)).astype(np.float32)
    epochs = Epochs(windows, 4, BUCKETS, seed=1, teacher_logits=[logits])
    for step in range(epochs.steps_per_epoch):
        whole, parts = epochs.batch_at(step), [epochs.batch_at(step, slice(i, i + 3)) for i in (0, 3, 6)]
        joined = [np.concatenate(columns) for columns in zip(*parts, strict=True)]
        assert_equal(whole, [column[:4] for column in joined])
        assert not any(column[4:].any() for column in joined)


def test_batches_of_all_lengths_are_mixed(windows):
    epochs = Epochs(windows, 4, BUCKETS, seed=3)
    lengths = [epochs.batch_at(step).input_ids.shape[1] for step in range(epochs.steps_per_epoch)]
    assert lengths != sorted(lengths)


@pytest.mark.parametrize("batch_size", [1, 8, 200])
def test_eval_batches(windows, batch_size):
    seen, shapes = [], []
    for indices, batch in eval_batches(windows, batch_size, BUCKETS):
        assert batch_windows(batch) == indices.tolist()
        assert_equal(batch, collate(windows, indices, batch.input_ids.shape[1], batch_size))
        seen.extend(indices.tolist())
        shapes.append(batch.input_ids.shape)
    assert sorted(seen) == list(range(103))
    assert windows.lengths[seen].tolist() == sorted(windows.lengths)
    assert shapes == sorted(shapes)
    assert {length for _, length in shapes} <= set(BUCKETS)


def test_there_may_be_more_buckets_than_a_byte_counts():
    windows, buckets = make_windows([1, 130, 150, 200]), range(1, 201)
    epochs = Epochs(windows, 1, buckets, seed=0)
    assert sorted(epochs.length_at(step) for step in range(4)) == [1, 130, 150, 200]
    assert [batch.input_ids.shape[1] for _, batch in eval_batches(windows, 1, buckets)] == [1, 130, 150, 200]


def teacher_logits(windows):
    """A token's start logit is its id, its end logit half of that."""
    return np.stack([windows.tokens, windows.tokens / 2], axis=1).astype(np.float32)


def test_teacher_logits_by_hand():
    windows = make_windows([3, 2])
    logits = np.array([[1, 2], [3, 4], [5, 6], [7, 8], [9, 10]], np.float32)
    batch = collate(windows, np.array([1, 0]), length=4, batch_size=3, teacher_logits=[logits])
    nothing = [0, 0]
    assert batch.teacher_logits.tolist() == [
        [[7, 8], [9, 10], nothing, nothing],
        [[1, 2], [3, 4], [5, 6], nothing],
        [nothing] * 4,
    ]
    mean = collate(windows, np.array([1]), length=2, batch_size=1, teacher_logits=[logits, logits * 2, logits * 6])
    assert mean.teacher_logits.tolist() == [[[21, 24], [27, 30]]]
    assert batch.teacher_logits.dtype == mean.teacher_logits.dtype == np.float32


def test_teacher_logits_follow_their_windows(windows, tmp_path):
    np.save(tmp_path / "logits.npy", teacher_logits(windows))
    mapped = np.load(tmp_path / "logits.npy", mmap_mode="r")
    plain, taught = (Epochs(windows, 8, BUCKETS, seed=1, teacher_logits=logits) for logits in ((), (mapped,)))
    for step in range(2 * plain.steps_per_epoch):
        batch = taught.batch_at(step)
        assert_equal(plain.batch_at(step)[:-1], batch[:-1])  # the same batches otherwise
        np.testing.assert_array_equal(batch.teacher_logits[..., 0], batch.input_ids)  # 0 at padding, as the ids are
        np.testing.assert_array_equal(batch.teacher_logits[..., 1], batch.input_ids / 2)


def test_teachers_are_averaged_in_float32():
    windows = make_windows([1])
    one, other = np.array([[60000, 1]], np.float16), np.array([[49984, 1 + 2**-10]], np.float16)
    batch = Epochs(windows, 1, (1,), seed=0, teacher_logits=[one, other]).batch_at(0)
    assert batch.teacher_logits.tolist() == [[[54992, 1 + 2**-11]]]  # the sum and the mean are no float16


def test_logits_of_other_windows_are_refused(windows):
    logits = teacher_logits(windows)
    with pytest.raises(ValueError, match=r"teacher logits must be \(\d+, 2\), got \(5, 2\)"):
        Epochs(windows, 8, BUCKETS, seed=1, teacher_logits=[logits, logits[:5]])


def test_no_windows():
    assert list(eval_batches(make_windows([]), 4, BUCKETS)) == []
    with pytest.raises(UserError, match="no windows"):
        Epochs(make_windows([]), 4, BUCKETS, seed=0)


@pytest.mark.parametrize(
    ("batch_size", "buckets", "seed", "message"),
    [
        (4, (10, 20), 0, "longest window has 40 tokens, the last bucket holds 20"),
        (0, BUCKETS, 0, "batch_size must be at least 1, got 0"),
        (4, (), 0, "buckets must be positive, increasing"),
        (4, (20, 10, 40), 0, r"buckets must be positive, increasing lengths, got \[20, 10, 40\]"),
        (4, (0, 40), 0, "buckets must be positive"),
        (4, BUCKETS, -1, "seed must be at least 0, got -1"),
    ],
)
def test_impossible_settings(windows, batch_size, buckets, seed, message):
    with pytest.raises(UserError, match=message):
        Epochs(windows, batch_size, buckets, seed)

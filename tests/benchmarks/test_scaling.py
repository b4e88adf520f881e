import pytest

from benchmarks import scaling
from benchmarks.common import Shape
from tinybert_jax.errors import UserError

SHAPE = Shape(2, 1, hidden=32, heads=2, intermediate=64, vocab=500, length=16, batch=2)


@pytest.fixture(scope="module")
def rows():
    """Both stages on two devices."""
    return scaling.measure(SHAPE, [2])


def test_devices_exchange_the_students_gradients_once_and_a_few_scalars(rows):
    first, second = rows
    hidden, wide, read = 32, 64, 500 + 16 + 2  # rows of the three tables that a batch of 16 tokens can change
    layer = 4 * (hidden + 1) * hidden + (hidden + 1) * wide + (wide + 1) * hidden + 4 * hidden
    encoder = 4 * (read * hidden + 2 * hidden + layer)
    assert first["gradient_bytes"] == first["expected_bytes"] == encoder
    assert second["gradient_bytes"] == second["expected_bytes"] == encoder + 4 * 2 * (hidden + 1)
    for stage in rows:  # nothing of the teacher's among the others
        assert stage["kinds"].keys() == {"all-reduce"} and stage["others"] == []
        assert stage["devices"] == 2 and stage["batch"] == 4 and stage["gradient_collectives"] == 1
        assert 1 <= stage["scalars"] <= 20 and stage["temp_bytes"] > 0
    # the gradients, and scalars, which XLA does not always combine with them
    assert first["kinds"]["all-reduce"] <= 1 + first["scalars"]


def test_a_row_lists_what_should_not_be_exchanged(rows):
    row, other = rows[0], {"kind": "all-gather", "type": "f32[4,4]", "bytes": 64, "source": "jit(step)/x"}
    shown = scaling.traffic_row(row)
    assert shown["gradients, MB"] == shown["of the student's, MB"] == f"{row['expected_bytes'] / 1e6:.3f}"
    assert shown["others"] == "none"
    assert scaling.traffic_row(row | {"others": [other]})["others"] == "all-gather f32[4,4] jit(step)/x"


def test_a_number_of_devices_below_one_is_refused():
    with pytest.raises(UserError, match="devices must be at least 1, got 0"):
        scaling.measure(SHAPE, [0])


def test_a_prediction_by_hand():
    row = {"stage": 1, "gradient_bytes": 100_000_000, "expected_bytes": 0}
    assert scaling.exchange_seconds(100_000_000, 4, 50e9) == pytest.approx(0.003)  # 2 · 3/4 · 0.1 GB / 50 GB/s
    assert scaling.prediction_row(row, 4, 0.1) == {
        "stage": 1,
        "devices": 4,
        "ms at 50 GB/s": "3.0",
        "throughput left at 50 GB/s": "97.1%",
        "ms at 400 GB/s": "0.4",
        "throughput left at 400 GB/s": "99.6%",
    }
    assert scaling.prediction_row(row, 1, 0.1)["ms at 50 GB/s"] == "0.0"

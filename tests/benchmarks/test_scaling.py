import json

import pytest

from benchmarks import scaling
from tests.benchmarks import command
from tinybert_jax.errors import UserError

ASKED = {
    **{"layers-teacher": 2, "layers-student": 1, "hidden": 32, "heads": 2, "intermediate": 64, "vocab": 500},
    **{"length": 16, "lengths": 16, "batch": 2, "devices": 2},
}


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """The command's Markdown and JSON: one length, and two devices."""
    output = tmp_path_factory.mktemp("scaling") / "figures.json"
    flags = [word for name, value in ASKED.items() for word in (f"--{name}", str(value))]
    done = command.run("scaling", *flags, "--output", output)
    assert done.returncode == 0, done.stderr
    return done.stdout, json.loads(output.read_text())


def test_a_row_holds_memory(ran):
    table, figures = ran
    (row,) = figures["growth"]
    assert row["temp_bytes"] > 0
    assert f"| 16 | {row['temp_bytes'] / 2**20:.1f} | 1.0× |" in table


def test_devices_exchange_the_students_gradients_once_and_a_few_scalars(ran):
    table, figures = ran
    first, second = figures["devices"]
    hidden, wide, read = 32, 64, 500 + 16 + 2  # rows of the three tables that a batch of 16 tokens can change
    layer = 4 * (hidden + 1) * hidden + (hidden + 1) * wide + (wide + 1) * hidden + 4 * hidden
    encoder = 4 * (read * hidden + 2 * hidden + layer)
    assert first["gradient_bytes"] == first["expected_bytes"] == encoder
    assert second["gradient_bytes"] == second["expected_bytes"] == encoder + 4 * 2 * (hidden + 1)
    for stage in (first, second):
        assert stage["kinds"].keys() == {"all-reduce"} and stage["others"] == []
        assert stage["devices"] == 2 and stage["batch"] == 4 and stage["gradient_collectives"] == 1
        assert 1 <= stage["scalars"] <= 20
    count = first["kinds"]["all-reduce"]
    assert count <= 1 + first["scalars"]  # the gradients, and scalars, which XLA does not always combine with them
    assert f"| 1 | 2 | 4 | {count} all-reduce | 1 | {encoder / 1e6:.3f} | {encoder / 1e6:.3f} |" in table


def test_nothing_of_the_teacher_is_exchanged(ran):
    for stage in ran[1]["devices"]:
        assert stage["largest"] <= stage["expected_bytes"] + 4 * stage["scalars"]
        assert stage["largest"] < stage["teacher_bytes"]


def test_what_should_not_be_exchanged_is_listed(ran):
    (row, _) = ran[1]["devices"]
    other = {"kind": "all-gather", "type": "f32[4,4]", "bytes": 64, "source": "jit(step)/x"}
    assert scaling.traffic_table([row | {"others": [other]}]).endswith(f"- stage 1, 2 devices: {other}")


def test_a_size_below_one_is_refused():
    with pytest.raises(UserError, match="lengths must be at least 1, got 0"):
        scaling.Args(lengths=(0,))

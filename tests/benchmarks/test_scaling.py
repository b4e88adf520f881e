import json
from functools import partial
from pathlib import Path

import pytest

from tests.benchmarks import command

ROOT = Path(__file__).parents[2]
ASKED = {
    **{"layers-teacher": 2, "layers-student": 1, "hidden": 32, "heads": 2, "intermediate": 64, "vocab": 500},
    **{"length": 16, "lengths": 16, "batch-per-device": 2, "devices": 2, "rounds": 1},
}


run = partial(command.run, "scaling.py")


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """The command's Markdown and JSON: one length, and two devices."""
    output = tmp_path_factory.mktemp("scaling") / "figures.json"
    flags = [word for name, value in ASKED.items() for word in (f"--{name}", str(value))]
    done = run(*flags, "--batches", "--layers", "--output", output)
    assert done.returncode == 0, done.stderr
    return done.stdout, json.loads(output.read_text())


def test_a_row_holds_memory_and_time(ran):
    table, figures = ran
    (row,) = figures["growth"]
    assert row["temp_bytes"] > 0 and len(row["seconds"]) == 1
    assert f"| length | 16 | {row['temp_bytes'] / 2**20:.1f} | 1.0× |" in table


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
        assert stage["devices"] == 2 and stage["gradient_collectives"] == 1
        assert 1 <= stage["scalars"] <= 20
    assert "- stage 1, 2 devices: every gradient once" in table


def test_nothing_of_the_teacher_is_exchanged(ran):
    for stage in ran[1]["devices"]:
        assert stage["largest"] <= stage["expected_bytes"] + 4 * stage["scalars"]
        assert stage["largest"] < stage["teacher_bytes"]


def test_a_collective_is_read_off_in_either_form(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    from collectives import find_collectives, sort_traffic

    found = find_collectives("""
  %g = (f32[2,4]{1,0}, f32[4,4]{1,0}) all-gather-start(%x), channel_id=1
  %h = f32[4,4]{1,0} all-gather-done(%g)
  ROOT %r = (f32[8]{0}, bf16[3,2]{1,0:T(8,128)}, /*index=5*/pred[]) all-reduce-start(%a, %b, %c), to_apply=%add
  %p = (f32[4]{0}, f32[4]{0}, u32[], u32[]) collective-permute-start(%q), metadata={op_name="jit(f)/x"}
""")
    assert [(one.kind, one.bytes) for one in found] == [
        ("all-gather", 64),
        ("all-reduce", 32 + 12 + 1),
        ("collective-permute", 16),
    ]
    traffic = sort_traffic(found, [32, 32, 16])
    assert (traffic.gradient_bytes, traffic.gradient_collectives, traffic.scalars, traffic.largest) == (32, 1, 1, 64)
    assert [other["type"] for other in traffic.others] == ["f32[4,4]", "bf16[3,2]", "f32[4]"]
    assert traffic.others[-1]["source"] == "jit(f)/x"


def test_a_size_below_one_is_refused():
    done = run("--lengths", "0")
    assert (done.returncode, done.stderr) == (2, "error: lengths must be at least 1, got 0\n")

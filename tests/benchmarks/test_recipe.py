from statistics import median

import pytest

from benchmarks import recipe
from benchmarks.common import Shape
from benchmarks.machine import in_process
from benchmarks.recipe import Part
from benchmarks.windows import Source, count_windows, steps_at
from tests.benchmarks import command
from tinybert_jax.data.squad_writer import write_squad
from tinybert_jax.errors import UserError

BUCKETS, BATCH, COPIES, EPOCHS = (24, 48), 3, 2, 4
SHAPE = Shape(1, 1, hidden=16, heads=2, intermediate=16, vocab=60, batch=BATCH, length=BUCKETS[-1])


@pytest.fixture(scope="module")
def source(paragraphs, masked_lm_folder, tmp_path_factory):
    """A file with windows of every bucket."""
    data = tmp_path_factory.mktemp("recipe") / "train.json"
    examples = [example for paragraph in paragraphs for example in paragraph if len(example.context.split()) < 35]
    write_squad(data, [[example] for example in examples])
    return Source(str(data), str(masked_lm_folder))


@pytest.fixture(scope="module")
def figures(source):
    sizes = {"buckets": BUCKETS, "copies": COPIES, "epochs": EPOCHS, "rounds": 1, "steps": 1, "matmul": 64}
    return in_process(command.SETTINGS, recipe.main, recipe.Args(SHAPE, source, dtype="float32", **sizes))


def steps_of(figures, stage):
    return {part["length"]: part["steps"] for part in figures["parts"] if part["stage"] == stage}


def test_steps_are_those_of_the_stages(figures, source):
    windows = source.read(SHAPE, 0)
    histogram = count_windows(windows, BUCKETS)
    assert figures["buckets"] == histogram and all(row["windows"] for row in histogram)
    once = steps_at(histogram, BATCH)
    assert steps_of(figures, "2: predictions") == {length: EPOCHS * steps for length, steps in once.items()}
    in_stage_1 = steps_of(figures, "1: intermediate layers")
    assert sum(in_stage_1.values()) == EPOCHS * -(-(COPIES + 1) * len(windows) // BATCH)
    assert sum(steps_of(figures, "2: teacher's logits").values()) == -(-len(windows) // recipe.FORWARD_BATCH)
    assert [part["steps"] for part in figures["parts"] if part["stage"] == "0: tokenising"] == [1 + COPIES + 1]


def test_the_total_is_steps_times_their_median_seconds(figures):
    expected = sum(part["steps"] * median(part["seconds"]) for part in figures["parts"])
    assert figures["total_seconds"] == pytest.approx(expected) and expected > 0
    assert all(part["flops"] > 0 for part in figures["parts"] if part["length"])
    assert {part["stage"][0] for part in figures["parts"]} == {"0", "1", "2"}


def test_tables_add_parts_up_and_pad_them_to_the_longest():
    parts = [
        Part("1: x", 24, 10, [3600.0, 1800.0, 7200.0], flops=3.6e15),
        Part("1: x", 48, 5, [7200.0], flops=7.2e15),
        Part("1: compiling", None, 1, [0.0]),
        Part("2: y", 48, 1, [36000.0], flops=0),
    ]
    lines = recipe.part_table(parts, peak=2e12).splitlines()
    assert lines[2] == "| 1: x | 24 | 10 | 3600 (1800–7200) | 10 | 33.3% | 1 | 50.0% |"
    assert "| **stage 1** |  | 15 |  | 20 | 66.7% | 1 | 50.0% |" in lines
    assert lines[-1].startswith("| **all** |  | 16 |  | 30 | 100.0% |")
    assert recipe.padded_seconds(parts, 48) == 15 * 7200 + 36000
    assert recipe.padded_seconds(parts[:1], 48) is None


@pytest.mark.parametrize("buckets", [(32, 16), (), (0, 16)])
def test_buckets_that_do_not_increase_are_refused(buckets):
    with pytest.raises(UserError, match="buckets must be positive, increasing lengths, got"):
        recipe.Args(buckets=buckets)

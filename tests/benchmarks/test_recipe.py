import pytest

from benchmarks import recipe
from benchmarks.common import Shape
from benchmarks.machine import in_process
from benchmarks.recipe import Part
from benchmarks.workload import Source, steps_at
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
def parts(source):
    sizes = {"buckets": BUCKETS, "copies": COPIES, "epochs": EPOCHS, "rounds": 1, "steps": 1}
    return in_process(command.SETTINGS, recipe.main, recipe.Args(SHAPE, source, dtype="float32", **sizes))


def steps_of(parts, name):
    return {part.length: part.steps for part in parts if part.name == name}


def test_steps_are_those_of_the_stages(parts, source):
    windows = source.read(SHAPE, 0)
    once = steps_at(windows, BUCKETS, BATCH)
    assert set(once) == set(BUCKETS)
    assert steps_of(parts, "2: predictions") == {length: EPOCHS * steps for length, steps in once.items()}
    in_stage_1 = steps_of(parts, "1: intermediate layers")
    assert sum(in_stage_1.values()) == EPOCHS * -(-(COPIES + 1) * len(windows) // BATCH)
    assert sum(steps_of(parts, "2: teacher's logits").values()) == -(-len(windows) // recipe.FORWARD_BATCH)
    assert steps_of(parts, "0: tokenising") == {None: COPIES + 1 + 1}
    assert all(second > 0 for part in parts if part.length for second in part.seconds)


def test_the_table_adds_parts_up():
    parts = [
        Part("1: x", 24, 10, [3600.0, 1800.0, 7200.0]),
        Part("1: x", 48, 5, [7200.0]),
        Part("2: y", None, 1, [36000.0]),
    ]
    assert recipe.part_table(parts).splitlines()[2:] == [
        "| 1: x | 24 | 10 | 3600 (1800–7200) | 10 | 33.3% |",
        "| 1: x | 48 | 5 | 7200 (7200–7200) | 10 | 33.3% |",
        "| 2: y | – | 1 | 3.6e+04 (3.6e+04–3.6e+04) | 10 | 33.3% |",
        "| **all** | – | 16 | – | 30 | 100.0% |",
    ]


@pytest.mark.parametrize("buckets", [(32, 16), (), (0, 16)])
def test_buckets_that_do_not_increase_are_refused(buckets):
    with pytest.raises(UserError, match="buckets must be positive, increasing lengths, got"):
        recipe.Args(buckets=buckets)

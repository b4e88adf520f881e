import json
from collections import Counter
from functools import partial
from statistics import median

import pytest

from tests.benchmarks import command
from tinybert_jax.data import Epochs, WindowConfig, load_tokenizer, load_windows
from tinybert_jax.data.squad_writer import write_squad

BUCKETS, BATCH, COPIES, EPOCHS = (24, 48), 3, 2, 4
ASKED = {
    **{"layers-teacher": 1, "layers-student": 1, "hidden": 16, "heads": 2, "intermediate": 16, "vocab": 60},
    **{"batch": BATCH, "copies": COPIES, "epochs": EPOCHS, "eval-batch": 4, "rounds": 1, "steps": 1, "matmul": 64},
}


run = partial(command.run, "recipe.py")


@pytest.fixture(scope="module")
def windows(paragraphs, masked_lm_folder):
    examples = [example for paragraph in paragraphs for example in paragraph if len(example.context.split()) < 35]
    config = WindowConfig(max_seq_len=BUCKETS[-1])
    return examples, load_windows(examples, load_tokenizer(str(masked_lm_folder)), config, None)


@pytest.fixture(scope="module")
def ran(windows, masked_lm_folder, tmp_path_factory):
    """The command's Markdown and JSON, of a file with windows of every bucket."""
    folder = tmp_path_factory.mktemp("recipe")
    write_squad(folder / "train.json", [[example] for example in windows[0]])
    flags = [word for name, value in ASKED.items() for word in (f"--{name}", str(value))]
    flags += ["--data", folder / "train.json", "--tokenizer", masked_lm_folder, "--buckets", *map(str, BUCKETS)]
    done = run(*flags, "--dtype", "float32", "--output", folder / "figures.json")
    assert done.returncode == 0, done.stderr
    return done.stdout, json.loads((folder / "figures.json").read_text())


def steps_of(figures, stage):
    return {part["length"]: part["steps"] for part in figures["parts"] if part["stage"] == stage}


def test_the_histogram_holds_every_window(ran, windows):
    table, figures = ran
    assert [row["length"] for row in figures["buckets"]] == list(BUCKETS)
    assert sum(row["windows"] for row in figures["buckets"]) == len(windows[1])
    assert sum(row["tokens"] for row in figures["buckets"]) == len(windows[1].tokens)
    assert f"| all | {len(windows[1])} | 100.0% |" in table


def test_steps_are_those_of_the_epochs_that_training_takes(ran, windows):
    epochs = Epochs(windows[1], BATCH, BUCKETS, seed=0)
    lengths = [epochs.batch_at(step).input_ids.shape[1] for step in range(EPOCHS * epochs.steps_per_epoch)]
    assert steps_of(ran[1], "2: predictions") == Counter(lengths)
    in_stage_1 = steps_of(ran[1], "1: intermediate layers")
    assert sum(in_stage_1.values()) == EPOCHS * -(-(COPIES + 1) * len(windows[1]) // BATCH)
    assert sum(steps_of(ran[1], "2: teacher's logits").values()) == -(-len(windows[1]) // 4)


def test_the_total_is_steps_times_their_median_seconds(ran):
    table, figures = ran
    expected = sum(part["steps"] * median(part["seconds"]) for part in figures["parts"])
    assert figures["total_seconds"] == pytest.approx(expected) and expected > 0
    assert all(part["flops"] > 0 for part in figures["parts"] if part["length"])
    assert {part["stage"][0] for part in figures["parts"]} == {"0", "1", "2"}
    assert f"| **all** | | {sum(part['steps'] for part in figures['parts'] if part['length'])} |" in table


def test_buckets_out_of_order_are_refused():
    done = run("--buckets", "32", "16")
    expected = "error: buckets must be positive, increasing lengths, got [32, 16]\n"
    assert (done.returncode, done.stderr) == (2, expected)

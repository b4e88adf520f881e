"""The commands of README and docs, run as they stand there, on the quickstart run as a newcomer's."""

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests import forked
from tinybert_jax.data import read_squad
from tinybert_jax.run import command_line
from tinybert_jax.run.hooks import Hooks, StageRun, Tracking
from tinybert_jax.run.recipes import RECIPES

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
PARITY = "python -m tests.reference.table"  # run in tests/reference/test_parity.py, where its figures are computed
PAGES = "\n".join([README, *(path.read_text() for path in sorted((ROOT / "docs").glob("*.md")))])


def block(name: str) -> str:
    """The code between the markers of that name, in README or docs."""
    match = re.search(rf"<!-- {name} -->\n```\w+\n(.*?)```\n<!-- /{name} -->", PAGES, re.DOTALL)
    assert match is not None, name
    return match[1]


def run(command: str, folder: Path, run_words=forked.run) -> str:
    """Runs a command of the README in `folder`, where its scripts are found as in the project's root."""
    python, *words = shlex.split(command)
    assert python == "python"
    ended = run_words(words, folder)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def run_alone(words, folder):
    """As a newcomer's shell does."""
    return subprocess.run([sys.executable, *words], cwd=folder, capture_output=True, text=True, timeout=900)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder in which the README's quickstart has been run."""
    folder = tmp_path_factory.mktemp("newcomer")
    for script in ("train.py", "evaluate.py"):
        (folder / script).symlink_to(ROOT / script)
    _, command = block("quickstart").split("&&")  # what installs the package has been done, or no test would run
    run(command, folder, run_alone)
    return folder


def test_the_quickstart_teaches(folder):
    results = json.loads((folder / "runs/quickstart/results.json").read_text())
    assert results["teacher"]["f1"] >= 85
    assert results["student"]["f1"] > results["student_without_distillation"]["f1"]


def test_the_export_scores_what_the_run_said(folder):
    results = json.loads((folder / "runs/quickstart/results.json").read_text())
    data = "runs/quickstart/synthetic/dev.json"
    metrics = json.loads(run(f"python evaluate.py runs/quickstart/export --data {data} --output scored", folder))
    assert metrics["f1"] == pytest.approx(results["student"]["f1"], abs=0.2)
    again = json.loads(run(f"python evaluate.py --predictions scored/predictions.json --data {data}", folder))
    assert again["f1"] == metrics["f1"]


def test_distillation_is_ahead_of_its_absence_beyond_chance(folder):
    files = [f"runs/quickstart/{model}/predictions.json" for model in ("student", "student_without_distillation")]
    data = "runs/quickstart/synthetic/dev.json"
    compared = json.loads(
        run(f"python evaluate.py --predictions {files[0]} --against {files[1]} --data {data}", folder)
    )
    low, high = compared["difference"]["f1"]["interval"]
    assert 0 < low < compared["predictions"]["f1"] - compared["against"]["f1"] < high
    assert compared["difference"]["f1"]["p"] < 0.05


def test_the_student_answers(folder):
    answer = run(block("ask").replace("tinybert ", "python -m tinybert_jax "), folder)
    assert answer.strip() in README


def test_more_ways_to_ask(folder):
    """A folder of text files and a question; a file of questions; Python; calibration; exports."""
    town = "About 2400 families live in Old Harrow today. The mayor of the town is Karin Abbot."
    (folder / "notes").mkdir()
    (folder / "notes" / "town.txt").write_text(f"Notes.\n{town}\n")
    (folder / "letter.txt").write_text("A letter about nothing.\n")
    line = {"id": 7, "question": "What is the population of Old Harrow?", "context": town}
    (folder / "questions.jsonl").write_text(json.dumps(line) + "\n")
    commands = block("ask-more").strip().splitlines()
    printed = [run(command.replace("tinybert ", "python -m tinybert_jax "), folder) for command in commands]
    assert printed[0].startswith("Karin Abbot  probability")
    assert "of notes/town.txt" in printed[0].splitlines()[0]
    assert json.loads((folder / "answers.jsonl").read_text())["text"] == "2400"
    assert "text='Karin Abbot', start=71, end=82" in run(f"python -c {shlex.quote(block('answerer'))}", folder)
    card = (folder / "runs/quickstart/export/README.md").read_text()
    ours = re.findall(r"```python\n(.*?)```", card, re.DOTALL)[1].replace("path/to/model", "runs/quickstart/export")
    assert run(f"python -c {shlex.quote(ours)}", folder).strip()
    exported = [run(c.replace("tinybert ", "python -m tinybert_jax "), folder) for c in block("export").splitlines()]
    assert exported[1].startswith("Karin Abbot  probability")
    # A copy: what other tests ask must answer as it did.
    shutil.copytree(folder / "runs/quickstart/export", folder / "runs/calibrated")
    commands = block("calibrate").replace("runs/quickstart/export", "runs/calibrated").strip().splitlines()
    best, bound = (json.loads(run(c.replace("tinybert ", "python -m tinybert_jax "), folder)) for c in commands)
    assert best["after"]["log_loss"] < best["before"]["log_loss"]
    assert best["after"]["f1"] >= best["before"]["f1"]
    assert bound["after"]["wrong"] < 0.1 * bound["after"]["given"]


def test_an_export_is_certified_and_verified(folder):
    commands = [c.replace("tinybert ", "python -m tinybert_jax ", 1) for c in block("certify").splitlines()]
    run(commands[0], folder)
    models = json.loads((folder / "runs/quickstart/certified/certificate.json").read_text())["models"]
    results = json.loads((folder / "runs/quickstart/results.json").read_text())
    assert models["student"]["f1"] == pytest.approx(results["student"]["f1"], abs=0.2)
    assert models["ONNX int8"]["f1"] > models["undistilled student"]["f1"]
    assert run(commands[1], folder).rstrip().endswith("agree exactly")


@pytest.mark.parametrize("command", [c for c in block("shown").strip().splitlines() if c != PARITY])
def test_the_tables_print(command):
    rows = [line for line in run(command, ROOT).splitlines() if line.startswith("|")]
    assert len(rows) >= 6  # a header, its rule, and four rows at least


def test_the_functions_example_runs(folder):
    printed = run(f"python -c {shlex.quote(block('functions'))}", folder)
    assert "(2, 32, 2)" in printed
    assert "hidden" in printed


def test_the_loop_of_one_s_own_learns(folder):
    printed = run(f"python -c {shlex.quote(block('own-loop'))}", folder)
    losses = [float(line.split()[1]) for line in printed.splitlines()]
    assert len(losses) == 10
    assert losses[-1] < 0.9 * losses[0]


def test_rows_become_squad_s_json(tmp_path, monkeypatch):
    context, answers = "The mayor of the town is Karin Abbot.", {"text": ["Karin Abbot"], "answer_start": [25]}
    rows = answers, {"text": [], "answer_start": []}, {"text": ["Karin"], "answer_start": [3]}
    lines = [{"id": i, "question": "Who?", "context": context, "answers": row} for i, row in enumerate(rows)]
    monkeypatch.chdir(tmp_path)
    Path("rows.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    exec(block("rows"), {})
    assert [(e.id, e.answers) for e in read_squad("train.json")] == [("0", (("Karin Abbot", 25),)), ("1", ())]


def test_the_layout_that_is_shown_can_be_read(tmp_path):
    shown = re.search(r"```json\n(.*?)```", (ROOT / "docs" / "data.md").read_text(), re.DOTALL)
    assert shown is not None
    (tmp_path / "data.json").write_text(shown[1])
    assert [len(example.answers) for example in read_squad(tmp_path / "data.json")] == [1, 0]


def test_conversion_there_and_back_is_exact(folder):
    for command in block("convert").strip().splitlines():
        run(command, folder)
    weights = [
        (folder / "runs/quickstart" / name / "model.safetensors").read_bytes() for name in ("export", "transformers")
    ]
    assert weights[0] == weights[1]


@pytest.mark.parametrize("command", re.findall(r"^python -m tinybert_jax\.augment (.+)$", PAGES, re.MULTILINE))
def test_augmentations_that_need_the_hub_at_least_parse(command, monkeypatch):
    import functools

    from tinybert_jax.augment import __main__ as augment

    given = {}
    record = functools.wraps(augment.augment)(lambda *positional, **named: given.update(named, positional=positional))
    monkeypatch.setattr(augment, "augment", record)
    monkeypatch.setattr(augment, "configure", lambda cache: None)  # the process is the tests'
    monkeypatch.setattr(sys, "argv", ["augment", *shlex.split(command)])
    augment.main()
    assert {"copies", "model", "preset", "seed"} <= set(given)


def test_the_hook_example_runs(monkeypatch, tmp_path):
    """On a run of a few lines."""

    def train(recipe, output, hooks):
        run = StageRun(output / "student", "1-finetune", recipe.stages[0], network=None, steps=2, start=0)
        with Hooks(run, (Tracking(log_every=2), *hooks)) as attached:
            for step in (1, 2):
                attached.step(step, None, {"loss": float(step)})

    monkeypatch.setattr("tinybert_jax.train.train", train)
    monkeypatch.chdir(tmp_path)
    exec(block("hook"), {})
    assert "2,loss,1.5" in (tmp_path / "runs/quickstart/student/1-finetune.csv").read_text().splitlines()


@pytest.mark.parametrize("command", re.findall(r"^python train\.py (.+)$", PAGES, re.MULTILINE))
def test_commands_that_need_the_hub_at_least_parse(command, monkeypatch):
    source = command.split()[0]
    if source not in RECIPES:  # a file
        monkeypatch.setattr(command_line, "find_recipe", lambda given: RECIPES["quickstart"]())
    recipe, output, _ = command_line.parse(shlex.split(command))
    assert recipe.name == source or source not in RECIPES
    assert output is None if "--dry-run" in command else output.parts[0] == "runs"


@pytest.mark.parametrize("command", block("cache").strip().splitlines())
def test_the_cache_is_listed_and_pruned(command, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    run(command.replace("tinybert", "python -m tinybert_jax", 1), ROOT)


def test_the_readme_is_short_and_its_links_lead_somewhere():
    assert README.count("\n") < 120
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", PAGES):
        assert target.startswith("http") or (ROOT / target).exists() or (ROOT / "docs" / target).exists(), target

"""Signals, in this process and in whole commands: one word and one status, wherever they come."""

import json
import signal
import subprocess
import sys
import time
import warnings
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.tiny_run import make_recipe, write_model
from tinybert_jax import train
from tinybert_jax.data import window_cache
from tinybert_jax.distill import Prediction
from tinybert_jax.errors import UserError, run_script
from tinybert_jax.inference import teacher_cache
from tinybert_jax.interrupt import Stopped, held_signals, stop_after, stop_signals
from tinybert_jax.run import folder, prepare, results
from tinybert_jax.run.hooks import Hook, TimeLimit
from tinybert_jax.run.recipe import Stage
from tinybert_jax.run.recipe_file import write_recipe
from tinybert_jax.run.recipes import quickstart

pytestmark = pytest.mark.usefixtures("quick_runs")

STATUS = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGALRM: 75}


@pytest.mark.parametrize("number", STATUS)
def test_a_signal_ends_the_block_with_its_status_and_the_old_handlers_come_back(number):
    before = signal.getsignal(number)
    with pytest.raises(Stopped) as stopped, stop_signals("continues"):
        signal.raise_signal(number)
    assert (stopped.value.code, stopped.value.again) == (STATUS[number], "continues")
    assert signal.getsignal(number) is before


def test_in_a_thread_that_gets_no_signals_a_block_is_only_a_block():
    before = signal.getsignal(signal.SIGINT)
    with ThreadPoolExecutor(1) as pool, stop_signals("continues"):
        pool.submit(lambda: stop_signals("begins again").__enter__()).result()
    assert signal.getsignal(signal.SIGINT) is before


def test_a_loop_holds_a_signal_back_until_it_ends():
    done = []
    with pytest.raises(Stopped), stop_signals("continues"):
        with held_signals() as signals:
            while not signals.requested:
                signal.raise_signal(signal.SIGTERM)
                signal.raise_signal(signal.SIGTERM)  # once more means no more
                done.append("step")
        done.append("after the loop")
    assert done == ["step"]
    with stop_signals("continues"), held_signals() as signals:  # nothing is left of it
        assert signals.requested is None


def test_of_nested_blocks_the_inner_one_says_what_follows(capsys):
    @stop_signals("continues")
    def inner():
        signal.raise_signal(signal.SIGTERM)

    with pytest.raises(SystemExit) as ended:
        run_script(inner)
    assert ended.value.code == 143
    assert capsys.readouterr().err == "stopped: the same command continues\n"
    with pytest.raises(SystemExit):
        run_script(lambda: signal.raise_signal(signal.SIGTERM))
    assert capsys.readouterr().err == "stopped: the same command begins again\n"


def test_time_is_over_once_and_not_beyond_its_block():
    with pytest.raises(Stopped) as stopped, stop_signals("continues"):
        assert stop_after(0.01)
        time.sleep(10)
    assert stopped.value.code == 75
    with stop_signals("continues"):
        stop_after(0.05)
    time.sleep(0.1)  # SIGALRM would end the tests


TWICE = """
import signal, threading, time
from tinybert_jax.errors import run_script
from tinybert_jax.interrupt import stop_signals
@stop_signals("continues")
def main():
    try:
        signal.raise_signal(signal.SIGINT)
    finally:
        threading.Thread(target=time.sleep, args=(60,)).start()  # which an orderly end would wait for
        signal.raise_signal(signal.SIGINT)
run_script(main)
"""


def test_a_second_ctrl_c_ends_the_process_at_once_without_a_word():
    ended = subprocess.run([sys.executable, "-c", TWICE], capture_output=True, text=True, timeout=30)
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", "")


class Signal(Hook):
    """A signal comes in a stage's second step."""

    every = 2

    def step(self, done, state, metrics):
        signal.raise_signal(signal.SIGTERM)


# Where a signal comes, in the order of a run; the first four before a step is taken, the others after the last.
MOMENTS = [
    (prepare, "load_pretrained"),
    (window_cache, "window_blocks"),
    (folder, "write_recipe"),
    (teacher_cache, "_cast"),
    (results, "write_evaluation"),
    (results, "write_model_card"),
]


def test_a_run_can_be_stopped_wherever_it_is_and_continues(tmp_path, monkeypatch, capsys):
    stage = Stage(objective=Prediction(), batch_size=4, max_steps=3, learning_rate=1e-2)
    recipe = make_recipe(tmp_path, stages=(stage,), teacher=str(tmp_path / "teacher"), checkpoint_every=1)
    write_model(tmp_path / "teacher", json.loads((tmp_path / "train.json").read_text()), seed=1)
    output, signalled = tmp_path / "run", lambda *_, **__: signal.raise_signal(signal.SIGTERM)
    monkeypatch.setattr("warnings.formatwarning", warnings.formatwarning)  # a script has one of its own

    def stopped(hooks=()):
        with pytest.raises(SystemExit) as ended:
            run_script(lambda: train.train(recipe, output, hooks) and None)
        said = capsys.readouterr().err.splitlines()[-1]
        assert (ended.value.code, said) == (143, "stopped: the same command continues")
        assert not list(tmp_path.rglob("*.tmp")), "a temporary file was left"

    for room, name in MOMENTS:
        if room is results and not (output / "student").exists():
            stopped([Signal()])
            assert (output / "student" / "1-prediction" / "checkpoints" / "2").is_dir()
        with monkeypatch.context() as patch:
            patch.setattr(room, name, signalled)
            stopped()
    assert set(train.train(recipe, output)) == {"teacher", "student", "seconds"}
    assert not (output / "student" / "1-prediction" / "checkpoints").exists()


def test_a_run_stops_once_its_time_is_over_and_a_checkpoint_is_there(tmp_path):
    class Slow(Hook):
        def step(self, done, state, metrics):
            stop_after(0.01)  # the run's own time, of which nobody knows how far it would get
            time.sleep(0.1)

    with pytest.raises(Stopped) as stopped:
        train.train(make_recipe(tmp_path), tmp_path / "run", [TimeLimit(600), Slow()])
    assert stopped.value.code == 75
    assert [path.name for path in (tmp_path / "run/student/1-finetune/checkpoints").glob("[0-9]")] == ["1"]


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf")])
def test_a_time_that_is_none_is_refused(seconds):
    with pytest.raises(UserError, match="--max-seconds must be above 0, and finite"):
        TimeLimit(seconds)


def test_half_made_data_is_nobody_elses_and_made_again(tmp_path):
    """As a killed process leaves it."""
    recipe, run = quickstart(), tmp_path / "run"
    for left in (".synthetic.abcd_123.tmp/synthetic/.teacher.00000000.tmp", "student/.curves.png.12345678.tmp"):
        (run / left).mkdir(parents=True)
    with pytest.raises(UserError, match="holds no run of ours"), folder.claimed(recipe, run):
        pytest.fail("the folder `student` is of no run")
    (run / "student").rename(run / "synthetic")
    with folder.claimed(recipe, run):
        assert not list(run.rglob("*.tmp"))
        write_recipe(run / "recipe.json", recipe)
    assert folder.check_folder(recipe, run) is None

"""Each in a process of its own: what `configure` sets cannot be taken back."""

import os
import re
import subprocess
import sys

import pytest

CODE = """
import os, sys, warnings
from pathlib import Path
import jax, jax.numpy as jnp
from tinybert_jax.run.runtime import configure
hits = []
jax.monitoring.register_event_listener(lambda event, **_: hits.append(event))
configure(Path(sys.argv[1]))
warnings.formatwarning = lambda message, *_, **__: f"warning: {message}\\n"  # as a script has it
print(int(jax.jit(lambda x: (x @ x).sum())(jnp.ones((8, 8)))), hits.count("/jax/compilation_cache/cache_hits"))
print(os.environ["XLA_FLAGS"])
"""


def run(cache, **environment):
    """What the code printed, as (result, hits of the cache, XLA's flags), and what it said on stderr."""
    ours = ("XLA_FLAGS", "JAX_COMPILATION_CACHE_DIR")  # set by the tests
    environment = {**{k: v for k, v in os.environ.items() if k not in ours}, **environment}
    command = [sys.executable, "-c", CODE, str(cache)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)
    assert ended.returncode == 0, ended.stderr
    numbers, flags = ended.stdout.splitlines()
    return (*map(int, numbers.split()), flags), ended.stderr


def test_programs_are_compiled_once_and_a_damaged_one_once_more(tmp_path):
    (result, hits, flags), _ = run(tmp_path)
    assert (result, hits) == (512, 0)
    assert flags.startswith("--xla_gpu")
    entries = list((tmp_path / "xla").glob("*-cache"))
    assert entries
    (result, hits, _), said = run(tmp_path)
    assert (result, said) == (512, "")
    assert hits == len(entries)
    sound = {entry: entry.stat().st_size for entry in entries}
    for entry in entries:
        entry.write_bytes(entry.read_bytes()[:20])  # as of a process that was killed
    (result, hits, _), said = run(tmp_path)
    assert (result, hits) == (512, 0)
    names = [re.fullmatch(r"(.*)-[0-9a-f]{64}-cache", entry.name)[1] for entry in entries]  # pyright: ignore[reportOptionalSubscript]
    lines = [
        f"warning: a compiled program in {tmp_path / 'xla'} cannot be read ({name}): it is compiled again"
        for name in names
    ]
    assert sorted(said.splitlines()) == sorted(lines)
    assert {entry: entry.stat().st_size for entry in entries} == pytest.approx(sound, rel=0.01)
    (result, hits, _), said = run(tmp_path)
    assert (result, hits, said) == (512, len(entries), "")


def test_what_the_user_has_set_stays(tmp_path):
    theirs = {"JAX_COMPILATION_CACHE_DIR": str(tmp_path / "theirs")}
    theirs["XLA_FLAGS"] = "--xla_gpu_enable_latency_hiding_scheduler=false"
    (result, _, flags), _ = run(tmp_path / "ours", **theirs)
    assert result == 512
    assert flags.endswith(" --xla_gpu_enable_latency_hiding_scheduler=false")
    assert [path.name for path in tmp_path.iterdir()] == ["theirs"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_is_no_end(tmp_path):
    tmp_path.chmod(0o500)
    (result, *_), said = run(tmp_path)
    assert result == 512
    assert "compilation cache" in said


@pytest.mark.parametrize("configured", [True, False])
def test_a_cpu_waits_for_each_program(configured):
    code = "import jax, jax.numpy as jnp; from tinybert_jax.run.runtime import run_one_at_a_time;"
    code += "run_one_at_a_time();" if configured else ""
    code += "x = jnp.eye(512); power = jax.jit(lambda x: jax.lax.fori_loop(0, 100, lambda _, y: y @ x, x)).lower(x);"
    code += "print(power.compile()(x).is_ready())"  # a tenth of a second's work
    environment = os.environ | {"JAX_PLATFORMS": "cpu"}
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, env=environment)
    assert ended.stdout.strip() == str(configured), ended.stderr

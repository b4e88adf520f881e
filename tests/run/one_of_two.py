"""Run by test_cluster.py: `tinybert train` with the arguments given, after TROUBLE="PROCESS:SIGNAL:STEP" or "".

In that process the signal comes after that step of the last stage. Little data is several blocks, to be shared.
"""

import os
import signal

import jax

from tinybert_jax import train
from tinybert_jax.data import window_cache
from tinybert_jax.errors import run_script
from tinybert_jax.inference import teacher_cache

window_cache._BLOCK = teacher_cache._BLOCK = 8


def main():
    process, name, step = os.environ["TROUBLE"].split(":")
    asked = train.asked_to_stop

    def asked_to_stop(done, finished=False):
        if done == int(step) and jax.process_index() == int(process):
            os.kill(os.getpid(), signal.Signals[name])
        return asked(done, finished)

    train.asked_to_stop = asked_to_stop
    train.main()


if __name__ == "__main__":
    run_script(main if os.environ["TROUBLE"] else train.main, "continues")

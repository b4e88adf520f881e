"""Run by test_cluster.py: the processes of runs, each forked from this one, which has imported all that they need.

A line of stdin is a run's processes: each one's arguments of `tinybert train`, its environment, the files that take
what it says, and its trouble, "PROCESS:SIGNAL:STEP" or "": in that process the signal comes after that step of the last
stage. Once all have ended, a line of stdout says how, and how many seconds after the first of them.

This process computes nothing and starts no thread, so that what is forked is as good as started, in half the time.
"""

import gc
import json
import os
import signal
import sys
import time

import jax
import safetensors.numpy  # noqa: F401
import transformers  # noqa: F401
import tyro  # noqa: F401
from jax._src.clusters import cloud_tpu_cluster, cluster

from tinybert_jax import train
from tinybert_jax.data import file_tokenizer, window_cache  # noqa: F401
from tinybert_jax.errors import run_script
from tinybert_jax.inference import teacher_cache
from tinybert_jax.run import hooks


def serve():
    """Forks the processes of each run; returns, in each of them, what it is to do."""
    for line in sys.stdin:
        processes, ended, first = [], {}, None
        for task in json.loads(line):
            process = os.fork()
            if not process:
                return task
            processes.append(process)
        while len(ended) < len(processes):
            process, status = os.wait()
            now = time.monotonic()
            first = first or now
            ended[process] = os.waitstatus_to_exitcode(status), now - first
        print(json.dumps([ended[process] for process in processes]), flush=True)
    return None


def become(task):
    """Makes this process the one that a task describes."""
    for number, path in enumerate([os.devnull, task["out"], task["err"]]):
        os.dup2(os.open(path, os.O_RDWR | os.O_CREAT), number)
    os.environ.update(task["environment"])
    sys.argv[1:] = task["arguments"]
    window_cache._BLOCK = teacher_cache._BLOCK = 8  # little data is several blocks, to be shared
    hooks.plot_curves = lambda folder: None  # a fifth of the time, and what a run in one process shows
    if "GCE_METADATA_IP" in task["environment"]:  # JAX looks for TPUs when it is imported, and here are none
        os.environ.pop("TPU_SKIP_MDS_QUERY", None)
        cloud_tpu_cluster.running_in_cloud_tpu_vm = cluster.running_in_cloud_tpu_vm = True


def troubled(trouble):
    """`tinybert train`, in which the signal of `trouble` comes."""
    process, name, step = trouble.split(":")
    asked = train.asked_to_stop

    def asked_to_stop(done, finished=False):
        if done == int(step) and jax.process_index() == int(process):
            os.kill(os.getpid(), signal.Signals[name])
        return asked(done, finished)

    train.asked_to_stop = asked_to_stop
    return train.main


if __name__ == "__main__":
    gc.freeze()
    task = serve()
    if task:
        become(task)
        run_script(troubled(task["trouble"]) if task["trouble"] else train.main, "continues")

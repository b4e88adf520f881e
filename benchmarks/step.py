"""Time and memory of one distillation step, ours beside three PyTorch trainers, interleaved in one run.

    python benchmarks/step.py [--device cpu|gpu] [--stage 1|2|both] [--output FILE] [--check]

The contestants, at the seed recipe's shapes unless flags say otherwise, dropout on, every parameter trained:

    A    what haystack's trainer ran: eager attention, all states and attention kept, float32 without TF32, plain
         means, clipping, AdamW, a look at the loss every step, every batch padded to the full length
    B    A under autocast: float16 with GradScaler on a GPU, bfloat16 on a CPU
    C    the best plain PyTorch we could write, with the recommended preset's objective: bfloat16 compute over float32
         masters, fused attention, no matrix of scores in the loss, fused AdamW, no sync, length buckets, and
         torch.compile on a GPU (not on a CPU unless asked: there it takes minutes)
    ours `make_train_step` with the haystack preset, padded to the full length, and with the recommended one in length
         buckets; each in float32 (on a GPU at jax's default precision, TF32) and in bfloat16

On a processor whose bfloat16 products are the slower ones, C computes in float32, and B, which would take minutes a
step, is left out.

Stage 2 is measured with the teacher in the step, and without, its logits coming with the batch. haystack cached them;
train.py caches them for the recommended preset, and not for haystack's, where logits at padding count.

Each system lives in a process of its own. Rounds go through all of them, one at a time, so that a machine's noise
meets all alike. All get the same windows (SQuAD's with --data, else random tokens as long as SQuAD's windows), as one
epoch in batches. A bucketed system's step time is the epoch's mean: measured at each length, weighted by the share of
the epoch's batches that have it. Tables hold, of windows/s, the median over rounds, the least and the most; MFU, model
FLOPs (`common.step_flops`) over the peak of matrix products, the best of both frameworks' and of all types; peak
memory, of the process beyond what importing took, or of the GPU; the time of the first steps, one of each length, with
the compiling that is in it.
"""

import argparse
import dataclasses
import importlib.util
import pickle
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import tables
from common import SYSTEMS, Job, Shape, make_workload, random_windows, squad_windows
from worker import Worker, WorkerDied

from tinybert_jax.errors import UserError, run_script
from tinybert_jax.store.files import write_json


def say(text: str) -> None:
    """Progress, beside the report."""
    print(text, file=sys.stderr, flush=True)


class Probes:
    """A worker for each framework that measures the machine's matrix products, now and in every round.

    Attributes:
        found: by framework, the device's name, and the best rates so far.
    """

    def __init__(self, args: argparse.Namespace, stack: ExitStack):
        """Starts them; says what is skipped without PyTorch.

        Raises:
            UserError: ours cannot run.
        """
        self.workers: dict[str, Worker] = {}
        self.found: dict[str, dict[str, Any]] = {}
        for framework in sorted({"jax"} | {SYSTEMS[system].framework for system in args.systems}):
            try:
                if importlib.util.find_spec(framework) is None:
                    raise UserError(f"{framework} is not installed")
                spec = {"framework": framework, "device": args.device, "size": args.matmul}
                worker = stack.enter_context(closing(Worker(spec, args.device)))
                self.found[framework] = worker.answer()
                self.workers[framework] = worker
            except (UserError, WorkerDied) as error:
                if framework == "jax":
                    raise UserError(f"ours cannot run: {error}") from error
                print(f"A, B and C are skipped: {error}\n")

    def again(self) -> None:
        """Measures once more, and keeps what is better."""
        for framework, worker in self.workers.items():
            best, now = self.found[framework]["peaks"], worker.ask()["peaks"]
            self.found[framework]["peaks"] = {dtype: max(rate, now[dtype]) for dtype, rate in best.items()}

    @property
    def half_pays(self) -> bool:
        """Whether PyTorch's bfloat16 products are at least as fast as its float32 ones; true without PyTorch."""
        peaks = self.found.get("torch", {"peaks": {"bfloat16": 1, "float32": 0}})["peaks"]
        return peaks["bfloat16"] >= peaks["float32"]

    @property
    def peak(self) -> float:
        """The best rate of all, FLOP/s."""
        return max(rate for one in self.found.values() for rate in one["peaks"].values())


def start(system: str, job: Job, workload: Path, args: argparse.Namespace) -> Worker:
    """Starts a system's worker."""
    spec = {"system": system, "job": dataclasses.asdict(job), "workload": str(workload), "device": args.device}
    spec |= {"shape": dataclasses.asdict(args.shape), "compile": args.compile, "half": args.half}
    return Worker(spec, args.device)


def measure(job: Job, workloads: dict[str, Path], probes: Probes, args: argparse.Namespace) -> dict[str, Any]:
    """Warms the systems, then runs the rounds. What each answered, by system; a system that dies is left out."""
    measured: dict[str, Any] = {}
    workers: dict[str, Worker] = {}

    @contextmanager
    def left_out_if_dead(system: str) -> Iterator[None]:
        try:
            yield
        except WorkerDied as error:
            print(f"{SYSTEMS[system].label}: left out, its process {error}\n")
            workers.pop(system)
            measured.pop(system, None)

    with ExitStack() as stack:
        for system, workload in workloads.items():
            say(f"{job.title}: starting {system}")
            workers[system] = stack.enter_context(closing(start(system, job, workload, args)))
            with left_out_if_dead(system):
                measured[system] = workers[system].answer() | {"rounds": []}
        for number in range(args.rounds):
            probes.again()
            for system, worker in list(workers.items()):
                with left_out_if_dead(system):
                    answers = {int(t): one for t, one in worker.ask(warmup=args.warmup, steps=args.steps).items()}
                    measured[system]["rounds"].append(answers)
                    seconds = ", ".join(f"{one['seconds']:.3g} s at {length}" for length, one in answers.items())
                    say(f"round {number + 1}/{args.rounds}: {system} {seconds}")
    return measured


def run_check(args: argparse.Namespace) -> int:
    """Prints how far the peers' losses and gradients are from ours; 1 where too far."""
    if importlib.util.find_spec("torch") is None:
        raise UserError("--check needs PyTorch: install the extra `torch`")
    from check import TOLERANCE, compare

    compared = compare(args.shape, make_workload(random_windows(args.shape, least=args.shape.batch), args.shape, False))
    print("| figure | ours | theirs | relative difference |\n| --- | --- | --- | --- |")
    for one in compared:
        print(f"| {one.what} | {one.ours:.7g} | {one.theirs:.7g} | {one.difference:.1e} |")
    return int(any(one.difference > TOLERANCE for one in compared))


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "gpu"), default="cpu")
    parser.add_argument("--stage", choices=("1", "2", "both"), default="both")
    parser.add_argument("--systems", type=lambda text: text.split(","), default=list(SYSTEMS), metavar="A,B,…")
    Shape.add_flags(parser)
    parser.add_argument("--rounds", type=int, default=5, help="times that every system is measured")
    parser.add_argument("--steps", type=int, default=3, help="steps of each length in a round")
    parser.add_argument("--warmup", type=int, default=1, help="untimed steps of each length before those")
    parser.add_argument("--data", help="SQuAD JSON; random tokens otherwise")
    parser.add_argument("--tokenizer", help="folder of the tokenizer, needed with --data")
    parser.add_argument(
        "--compile", action=argparse.BooleanOptionalAction, help="torch.compile in C; by default on a GPU"
    )
    parser.add_argument("--matmul", type=int, help="size of the product that measures the peak; 2048, on a GPU 8192")
    parser.add_argument("--output", type=Path, help="write every figure as JSON")
    parser.add_argument("--check", action="store_true", help="compare losses and gradients instead, on a CPU")
    args = parser.parse_args()
    for name, least in (("rounds", 1), ("steps", 1), ("warmup", 1)):
        if getattr(args, name) < least:
            raise UserError(f"{name} must be at least {least}, got {getattr(args, name)}")
    if unknown := [system for system in args.systems if system not in SYSTEMS]:
        raise UserError(f"systems must be among {', '.join(SYSTEMS)}, got {', '.join(unknown)}")
    if bool(args.data) != bool(args.tokenizer):
        raise UserError("--data and --tokenizer go together")
    args.shape = Shape.of(args)
    args.compile = args.device == "gpu" if args.compile is None else args.compile
    args.matmul = args.matmul or (8192 if args.device == "gpu" else 2048)
    return args


def run_jobs(probes: Probes, args: argparse.Namespace) -> list[dict[str, Any]]:
    """Measures and reports every job; returns all figures."""
    windows = squad_windows(args.data, args.tokenizer, args.shape) if args.data else random_windows(args.shape)
    made = {bucketed: make_workload(windows, args.shape, bucketed) for bucketed in (False, True)}
    print(tables.preamble(args, probes.found, made[True]), flush=True)
    systems = [system for system in args.systems if SYSTEMS[system].framework in probes.found]
    args.half = probes.half_pays
    if "B" in systems and not args.half:
        systems.remove("B")
        print("B is left out: PyTorch multiplies bfloat16 more slowly than float32 here\n")
    results = []
    with tempfile.TemporaryDirectory() as folder:
        for bucketed, workload in made.items():
            (Path(folder) / str(bucketed)).write_bytes(pickle.dumps(workload))
        workloads = {system: Path(folder) / str(SYSTEMS[system].bucketed) for system in systems}
        for job in (Job(1), Job(2), Job(2, cached=True)):
            if args.stage not in ("both", str(job.stage)):
                continue
            measured = measure(job, workloads, probes, args)
            rows = [
                tables.summarise(system, one, args.shape, job, made[SYSTEMS[system].bucketed], probes.peak)
                for system, one in measured.items()
            ]
            print(tables.job_tables(job, rows, probes.found), flush=True)
            results.append({"job": dataclasses.asdict(job), "systems": rows, "measured": measured})
    return results


def main() -> int | None:
    """Measures and reports."""
    args = parse()
    if args.check:
        return run_check(args)
    with ExitStack() as stack:
        probes = Probes(args, stack)
        results = run_jobs(probes, args)
    if args.output:
        settings = {name: str(value) for name, value in vars(args).items()}
        write_json(args.output, {"settings": settings, "probes": probes.found, "results": results})
    return None


if __name__ == "__main__":
    run_script(main)

"""What the step benchmark prints: figures from what workers answered, as Markdown."""

import argparse
from collections.abc import Iterable, Sequence
from statistics import median
from typing import Any

from common import SYSTEMS, Job, Shape, Workload, step_flops

Row = dict[str, Any]


def preamble(args: argparse.Namespace, probes: dict[str, Any], bucketed: Workload) -> str:
    """What was measured, on what."""
    shares = ", ".join(f"{share:.0%} of {length}" for length, share in bucketed.shares.items())
    lines = (
        f"Sizes: {', '.join(f'{name} {value}' for name, value in vars(args.shape).items())}.",
        f"Windows: {args.data or 'random tokens'}, {bucketed.mean_tokens:.1f} tokens in the mean; buckets: {shares}.",
        f"Software and device: {'; '.join(one['device'] for one in probes.values())}.",
        *([f"Allocator: {probes['jax']['allocator']}."] if args.device == "cpu" else []),
        f"{args.rounds} rounds of {args.steps} step(s) of each length, after {args.warmup} untimed.",
    )
    return "\n".join(f"- {line}" for line in lines)


def summarise(system: str, measured: dict[str, Any], shape: Shape, job: Job, workload: Workload, peak: float) -> Row:
    """A system's figures; rates are medians over rounds.

    Args:
        system: its name.
        measured: what its worker answered.
        shape: sizes.
        job: the step.
        workload: what it ran.
        peak: FLOP/s of the machine's matrix products.
    """
    rounds = [workload.mean({t: answer["seconds"] for t, answer in one.items()}) for one in measured["rounds"]]
    steps = [1 / seconds for seconds in rounds]
    rate = median(steps)
    flops = workload.mean({length: step_flops(shape, job, length) for length in workload.batches})
    return {
        "system": system,
        "steps_per_second": rate,
        "windows_per_second": rate * shape.batch,
        "windows_per_second_range": [min(steps) * shape.batch, max(steps) * shape.batch],
        "real_tokens_per_second": rate * shape.batch * workload.mean_tokens,
        "padded_tokens_per_second": rate * shape.batch * workload.mean({t: t for t in workload.batches}),
        "model_flop_utilisation": rate * flops / peak,
        "peak_bytes": max(answer["bytes"] for one in measured["rounds"] for answer in one.values()),
        "waited": median(answer["waited"] for one in measured["rounds"] for answer in one.values()),
        "first_seconds": measured["first_seconds"],
        **measured["facts"],
    }


def job_tables(job: Job, rows: list[Row], probes: dict[str, Any]) -> str:
    """The table of a job, how ours compare to the peers, and notes."""
    columns = ("system", "windows/s", "steps/s", "real tokens/s", "padded tokens/s", "MFU")
    columns += ("peak memory, MiB", "XLA temporaries, MiB", "compile, s", "first steps, s")
    peaks = [f"{name} {dtype} {rate / 1e12:.3g}" for name, p in probes.items() for dtype, rate in p["peaks"].items()]
    waited = ", ".join(f"{row['system']} {row['waited']:.2g}" for row in rows)
    lines = [
        f"\n### {job.title}\n",
        *markdown(columns, map(_cells, rows)),
        *_ratios({row["system"]: row["windows_per_second"] for row in rows}),
        f"\n- Matrix products' peak, TFLOP/s, best of the rounds: {', '.join(peaks)}.",
        f"- Seconds a second that a system's threads waited for a processor (others' work, mostly): {waited}.",
        *(f"- {row['system']}: {row['note']}." for row in rows if "note" in row),
    ]
    return "\n".join(lines)


def markdown(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(cells)} |" for cells in (columns, ["---"] * len(columns), *rows)]


def _ratios(rates: dict[str, float]) -> list[str]:
    peers = [system for system in rates if SYSTEMS[system].framework == "torch"]
    rows = [
        [SYSTEMS[system].label, *(f"{rate / rates[peer]:.2f}×" for peer in peers)]
        for system, rate in rates.items()
        if system not in peers
    ]
    return ["", *markdown(["windows/s of", *(f"over {peer}" for peer in peers)], rows)] if peers and rows else []


def _cells(row: Row) -> list[str]:
    least, most = row["windows_per_second_range"]
    temporaries = f"{row['temp_bytes'] / 2**20:.0f}" if "temp_bytes" in row else "–"
    return [
        SYSTEMS[row["system"]].label,
        f"{row['windows_per_second']:.3g} ({least:.3g}–{most:.3g})",
        f"{row['steps_per_second']:.3g}",
        f"{row['real_tokens_per_second']:.0f}",
        f"{row['padded_tokens_per_second']:.0f}",
        f"{row['model_flop_utilisation']:.1%}",
        f"{row['peak_bytes'] / 2**20:.0f}",
        temporaries,
        f"{row['compile_seconds']:.1f}" if "compile_seconds" in row else "–",
        f"{row['first_seconds']:.1f}",
    ]

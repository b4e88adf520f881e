"""Arithmetic of the recipe's projection: windows into batches, batches into hours, and the tables of both."""

from statistics import median
from typing import NamedTuple

import numpy as np

from tinybert_jax.data import Windows

Histogram = list[dict[str, int]]  # length, windows and tokens of each bucket


class Part(NamedTuple):
    """Steps of one kind and length, and what they take.

    Attributes:
        stage: of the recipe, with what the steps do.
        length: tokens of a row; None where it does not matter.
        steps: how many.
        seconds: of one step, as measured, round by round.
        flops: of one step's matrix products; 0 where there are none to speak of.
    """

    stage: str
    length: int | None
    steps: int
    seconds: list[float]
    flops: float = 0.0

    @property
    def total(self) -> float:
        """Seconds of them all."""
        return self.steps * median(self.seconds)


def count_windows(windows: Windows, buckets: tuple[int, ...]) -> Histogram:
    """For each bucket its windows, and their tokens."""
    index = np.searchsorted(buckets, windows.lengths)
    counts = np.bincount(index, minlength=len(buckets))
    tokens = np.bincount(index, weights=windows.lengths, minlength=len(buckets))
    return [
        {"length": length, "windows": int(count), "tokens": int(total)}
        for length, count, total in zip(buckets, counts, tokens, strict=True)
    ]


def steps_at(histogram: Histogram, batch: int, times: int = 1) -> dict[int, int]:
    """Batches of each length in a pass over `times` as many windows.

    As `data.Epochs` fills them: windows that do not fill a batch join the next bucket's, and the last batch is
    completed with filler rows.
    """
    counts = {row["length"]: row["windows"] * times for row in histogram if row["windows"]}
    steps, seen, before = {}, 0, 0
    for length, count in counts.items():
        seen += count
        full = -(-seen // batch) if length == max(counts) else seen // batch
        steps[length], before = full - before, full
    return {length: count for length, count in steps.items() if count}


def bucket_table(histogram: Histogram, batch: int) -> str:
    """Markdown: where the windows are, and how much of a bucket's rows is padding."""
    steps, count = steps_at(histogram, batch), sum(row["windows"] for row in histogram)
    lines = ["| bucket | windows | share | tokens a window | padding | batches a pass |", "| --- " * 6 + "|"]

    def line(name: str, windows: int, tokens: int, padded: int, batches: int) -> str:
        mean, padding = (f"{tokens / windows:.1f}", f"{1 - tokens / padded:.1%}") if windows else ("–", "–")
        return f"| {name} | {windows} | {windows / count:.1%} | {mean} | {padding} | {batches} |"

    for row in histogram:
        padded = row["windows"] * row["length"]
        lines.append(line(str(row["length"]), row["windows"], row["tokens"], padded, steps.get(row["length"], 0)))
    tokens, padded = sum(row["tokens"] for row in histogram), sum(row["windows"] * row["length"] for row in histogram)
    longest = histogram[-1]["length"]
    for name, padded_to in (("all", padded), (f"all, padded to {longest}", count * longest)):
        lines.append(line(name, count, tokens, padded_to, sum(steps.values())))
    return "\n".join(lines)


def part_table(parts: list[Part], peak: float) -> str:
    """Markdown: where the time goes."""
    columns = ("stage", "length", "steps", "s a step", "hours", "share", "TFLOP/s", "of the peak")
    lines, total = [f"| {' | '.join(columns)} |", "| --- " * len(columns) + "|"], sum(part.total for part in parts)
    for number in dict.fromkeys(part.stage[0] for part in parts):
        stage = [part for part in parts if part.stage[0] == number]
        for part in stage:
            middle, rate = median(part.seconds), part.flops / median(part.seconds) if part.flops else 0.0
            seconds = f"{middle:.4g} ({min(part.seconds):.4g}–{max(part.seconds):.4g})"
            cells = (part.stage, part.length or "–", part.steps, seconds, f"{part.total / 3600:.3g}")
            speed = (f"{rate / 1e12:.3g}", f"{rate / peak:.1%}") if rate else ("–", "–")
            lines.append("| " + " | ".join(map(str, (*cells, f"{part.total / total:.1%}", *speed))) + " |")
        lines.append(_sum_line(f"stage {number}", stage, total, peak))
    return "\n".join([*lines, _sum_line("all", parts, total, peak)])


def _sum_line(name: str, parts: list[Part], total: float, peak: float) -> str:
    seconds, flops = sum(part.total for part in parts), sum(part.steps * part.flops for part in parts)
    steps = sum(part.steps for part in parts if part.length)
    speed = f"{flops / seconds / 1e12:.3g} | {flops / seconds / peak:.1%}" if flops else "– | –"
    return f"| **{name}** | | {steps} | | **{seconds / 3600:.3g}** | {seconds / total:.1%} | {speed} |"


def padded_seconds(parts: list[Part], longest: int) -> float | None:
    """What all would take with every batch padded to the longest bucket; None where that was not measured."""
    at_longest = {part.stage: median(part.seconds) for part in parts if part.length == longest}
    if any(part.length and part.stage not in at_longest for part in parts):
        return None
    return sum(part.steps * at_longest[part.stage] if part.length else part.total for part in parts)

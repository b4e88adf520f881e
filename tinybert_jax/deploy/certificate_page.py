"""A certificate for people: a section of the model card."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tinybert_jax.run.model_card import shown
from tinybert_jax.store.files import atomic_path

_BEGIN, _END = "<!-- certificate -->", "<!-- /certificate -->"
_CARD = """\
---
pipeline_tag: question-answering
---

# {name}

A model for extractive question answering: given a question and a passage, it marks the span of the passage that answers
the question, or none.
"""


def write_table(card: Path, certificate: Mapping[str, Any]) -> None:
    """Puts a certificate's table into a model card: in place of the one that it holds, or else at its end.

    Args:
        card: README.md; a minimal one is written where there is none.
        certificate: as `certify` makes it.
    """
    page = card.read_text(encoding="utf-8") if card.is_file() else _CARD.format(name=card.absolute().parent.name)
    section = f"{_BEGIN}\n{table(certificate)}\n{_END}\n"
    held = re.compile(rf"{_BEGIN}.*?{_END}\n?", re.DOTALL)
    page = held.sub(lambda _: section, page, count=1) if held.search(page) else f"{page.rstrip()}\n\n{section}"
    with atomic_path(card) as temporary:
        temporary.write_text(page, encoding="utf-8")


def table(certificate: Mapping[str, Any]) -> str:
    """The section in Markdown: a row a model, and below it how its figures came about."""
    models, data, machine = certificate["models"], certificate["data"], certificate["measured_on"]
    references = [label for label in models if any(label in row["differences"] for row in models.values())]
    header = ["", "EM", "F1", *(f"F1 less the {name}'s" for name in references)]
    header += ["MB", "parameters", "ms, median", "ms, 95%"]
    rows = [header, ["---"] * len(header)]
    rows += [[label, *_cells(row, references)] for label, row in models.items()]
    lines = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    against = "" if data["scored_against"].startswith("the data") else ", agreement with the teacher's answers"
    device = "" if machine["device"] == "cpu" else f" (networks that are not ONNX: {machine['device']})"
    return f"""\
## Certificate

{lines}

Measured on the {data["questions"]:,} questions of `{shown(data["source"])}`, by the rules of the official SQuAD
evaluation, in percent{against}. In brackets are 95% intervals: how far a figure may be off because the questions are a
sample; p is that of a paired bootstrap. Milliseconds are those of an answer, one question at a time,
{machine["timed_questions"]} of them, on {machine["processor"]}{device}, {machine["threads"]} threads.
`certificate.json` holds the digests of all files; `tinybert certify FOLDER --verify` measures again."""


def _cells(row: Mapping[str, Any], references: list[str]) -> list[str]:
    cells = [_with_interval(row[name], row[f"{name}_interval"]) for name in ("exact", "f1")]
    for reference in references:
        found = row["differences"].get(reference)
        cells.append("" if found is None else f"{_with_interval(**_f1(found), sign='+')}, p {found['f1']['p']:.2g}")
    cells += [f"{row['bytes'] / 1e6:.1f}", f"{row['parameters']:,}"]
    return cells + [f"{row['latency_ms'][name]:.1f}" for name in ("median", "p95")]


def _f1(found: Mapping[str, Any]) -> dict[str, Any]:
    return {"value": found["f1"]["mean"], "interval": found["f1"]["interval"]}


def _with_interval(value: float, interval: list[float], sign: str = "") -> str:
    return f"{value:{sign}.2f} ({interval[0]:{sign}.2f} to {interval[1]:{sign}.2f})"

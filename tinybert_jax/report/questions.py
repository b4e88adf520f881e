"""The questions as the page carries them: contexts once, compressed, and a sample where all would be too much."""

import base64
import gzip
import json
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from tinybert_jax.data.example import Example
from tinybert_jax.report.figures import question_word
from tinybert_jax.report.systems import System

MOST_BYTES = 1_700_000  # of a page below 2 MB: charts and the rest take 0.2


class Packed(NamedTuple):
    """Questions for the page's script.

    Attributes:
        content: JSON, gzipped, in base64: {"questions": [[id, context's number, question, question word, golds,
            answers]], "contexts": [text]}. A gold is [text, start]; an answer, one a system, is [text, start, exact,
            F1 in percent, probability in percent or null]. Starts count UTF-16 units, as the script's texts do; -1
            where the text is not in the context.
        questions: how many it holds.
    """

    content: str
    questions: int


def pack(examples: Sequence[Example], systems: Sequence[System], most_bytes: int = MOST_BYTES) -> Packed:
    """Packs as many questions as fit: all, or those about contexts drawn at random.

    Args:
        examples: the questions.
        systems: who answered them.
        most_bytes: how long `Packed.content` may get.
    """
    contexts = list(dict.fromkeys(example.context for example in examples))
    drawn = np.random.default_rng(0).permutation(len(contexts))
    packed = _pack(examples, systems, contexts)
    while len(packed.content) > most_bytes and len(drawn):
        drawn = drawn[: int(0.95 * len(drawn) * most_bytes / len(packed.content))]
        packed = _pack(examples, systems, [contexts[number] for number in np.sort(drawn)])
    return packed


def _pack(examples: Sequence[Example], systems: Sequence[System], contexts: Sequence[str]) -> Packed:
    """Packs the questions about these contexts."""
    numbers = {context: number for number, context in enumerate(contexts)}
    columns = [[system.column(name).tolist() for name in ("exact", "f1")] for system in systems]
    questions = []
    for row, example in enumerate(examples):
        if example.context not in numbers:
            continue
        answers = [
            [
                *_placed(example.context, system.answers[row], system.starts[row]),
                int(exact[row]),
                round(100 * f1[row]),
                None if system.probability is None else round(100 * float(system.probability[row])),
            ]
            for system, (exact, f1) in zip(systems, columns, strict=True)
        ]
        golds = [_placed(example.context, *gold) for gold in dict.fromkeys(example.answers)]
        word = question_word(example.question)
        questions.append([example.id, numbers[example.context], example.question, word, golds, answers])
    text = json.dumps({"questions": questions, "contexts": contexts}, separators=(",", ":"))
    return Packed(base64.b64encode(gzip.compress(text.encode(), mtime=0)).decode(), len(questions))


def _placed(context: str, text: str, start: int | None) -> list[str | int]:
    """A text and where it is in its context: at `start` if it is there, else the first place that holds it."""
    if start is None or context[start : start + len(text)] != text:
        start = context.find(text) if text else -1
    units = -1 if start < 0 or not text else len(context[:start].encode("utf-16-le", "surrogatepass")) // 2
    return [text, units]

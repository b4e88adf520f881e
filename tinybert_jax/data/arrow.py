"""SQuAD as an Arrow file, a row a paragraph: memory-mapped, and read a few hundred paragraphs at a time.

The columns are SQuAD's own: title, context, and qas with id, question and answers. `datasets.Dataset.from_file` opens
the file too.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from tinybert_jax.data.example import Answer, Example
from tinybert_jax.store.arrow import read_batches, write_rows

_ROWS = 256  # paragraphs in a record batch: what is held in memory at once


class ArrowExamples:
    """The questions of an Arrow file that `write_arrow` wrote, in order; iterating reads the file anew."""

    def __init__(self, path: str | Path) -> None:
        """Checks that the file is one.

        Raises:
            UserError: missing, unreadable, or other columns.
        """
        self.path = Path(path)
        for _ in self._batches():
            break

    def __iter__(self) -> Iterator[Example]:
        for batch in self._batches():
            for row in batch.to_pylist():
                for qa in row["qas"]:
                    answers = tuple(Answer(answer["text"], answer["answer_start"]) for answer in qa["answers"])
                    yield Example(qa["id"], qa["question"], row["context"], answers, row["title"])

    def digest(self) -> str:
        """SHA-256 of the file."""
        with self.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def _batches(self) -> Iterator[Any]:
        content = "a SQuAD paragraph a row, with the columns title, context and qas of `augment`"
        return read_batches(self.path, _schema(), content)


def write_arrow(path: Path, paragraphs: Iterable[Sequence[Example]]) -> None:
    """Writes paragraphs, each the questions about one context, without holding more than some of them."""
    write_rows(path, _schema(), map(_row, paragraphs), _ROWS)


def _row(paragraph: Sequence[Example]) -> dict[str, Any]:
    qas = [
        {
            "id": example.id,
            "question": example.question,
            "answers": [{"text": text, "answer_start": start} for text, start in example.answers],
        }
        for example in paragraph
    ]
    return {"title": paragraph[0].title, "context": paragraph[0].context, "qas": qas}


def _schema() -> Any:
    import pyarrow as pa

    answer = pa.struct([("text", pa.string()), ("answer_start", pa.int64())])
    qa = pa.struct([("id", pa.string()), ("question", pa.string()), ("answers", pa.list_(answer))])
    return pa.schema([("title", pa.string()), ("context", pa.string()), ("qas", pa.list_(qa))])

"""SQuAD as an Arrow file, a row a paragraph: memory-mapped, and read a few hundred paragraphs at a time.

The columns are SQuAD's own: title, context, and qas with id, question and answers. `datasets.Dataset.from_file` opens
the file too.
"""

import hashlib
import itertools
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np

from tinybert_jax.data.example import Example
from tinybert_jax.data.validation import Row, field, paragraph_rows, to_example
from tinybert_jax.store.arrow import read_batches, write_rows

_ROWS = 256  # paragraphs in a record batch: what is held in memory at once


class ArrowExamples(Sequence[Example]):
    """The questions of an Arrow file that `write_arrow` wrote, in order; each is read when it is asked for.

    Whoever wants all of them should iterate, which reads some hundred paragraphs at once: an index or a slice reads a
    paragraph for each question.
    """

    def __init__(self, path: str | Path, check_offsets: bool = True) -> None:
        """Maps the file and checks that it is one; each question is checked when it is read.

        Args:
            path: the file.
            check_offsets: as in `read_squad`.

        Raises:
            UserError: missing, unreadable, damaged, or other columns.
        """
        self.path, self._check_offsets = Path(path), check_offsets
        content = "a SQuAD paragraph a row, with the columns title, context and qas of `augment`"
        self._batches = list(read_batches(self.path, _schema(), content))  # which stay on the disk until they are read
        self._first_rows = _counted_before([batch.num_rows for batch in self._batches])
        questions = [batch.column("qas").value_lengths().fill_null(0).to_numpy() for batch in self._batches]
        self._first_questions = _counted_before(np.concatenate([np.empty(0, np.int64), *questions]))  # of each row

    def __len__(self) -> int:
        return int(self._first_questions[-1])

    @overload
    def __getitem__(self, index: int) -> Example: ...
    @overload
    def __getitem__(self, index: slice) -> list[Example]: ...
    def __getitem__(self, index: int | slice) -> Example | list[Example]:
        if isinstance(index, slice):
            return [self[i] for i in range(len(self))[index]]
        wanted = range(len(self))[index]  # raises as a list would
        row = bisect_right(self._first_questions, wanted) - 1
        number = bisect_right(self._first_rows, row) - 1
        paragraph = self._rows(self._batches[number].slice(row - int(self._first_rows[number]), 1), row)
        found = next(itertools.islice(paragraph, wanted - int(self._first_questions[row]), None))
        return to_example(found, self._check_offsets)

    def __iter__(self) -> Iterator[Example]:
        return self._from(0)

    def between(self, begin: int, end: int) -> Iterator[Example]:
        """Iterates over the questions `begin` to `end - 1`, and reads little more."""
        row = bisect_right(self._first_questions, begin) - 1
        number = bisect_right(self._first_rows, row) - 1
        first = int(self._first_questions[self._first_rows[number]])
        return itertools.islice(self._from(number), begin - first, end - first)

    def _from(self, number: int) -> Iterator[Example]:
        """The questions of a batch and of those behind it."""
        for batch, first in zip(self._batches[number:], self._first_rows[number:-1].tolist(), strict=True):
            for row in self._rows(batch, first):
                yield to_example(row, self._check_offsets)

    def digest(self) -> str:
        """SHA-256 of the file."""
        with self.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def _rows(self, batch: Any, first: int) -> Iterator[Row]:
        """The questions of paragraphs, the first of which is the file's row `first`."""
        columns = map(_to_list, batch.columns)
        for number, values in enumerate(zip(*columns, strict=True), start=first):
            paragraph, where = dict(zip(batch.schema.names, values, strict=True)), f"{self.path}: row {number}"
            yield from paragraph_rows(paragraph, field(paragraph, "title", str, where), where)


def _to_list(array: Any) -> list[Any]:
    """`array.to_pylist()`, nulls included, in a fifth of its time: that one makes an object of every value first."""
    import pyarrow as pa

    if pa.types.is_list(array.type):
        bounds = array.offsets.to_numpy()
        items = _to_list(array.values.slice(bounds[0], bounds[-1] - bounds[0]))
        values = [items[begin:end] for begin, end in itertools.pairwise((bounds - bounds[0]).tolist())]
    elif pa.types.is_struct(array.type):
        names = [array.type.field(i).name for i in range(array.type.num_fields)]
        columns = [_to_list(array.field(i)) for i in range(array.type.num_fields)]
        values = [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]
    else:
        return array.to_pylist()
    if array.null_count:
        values = [value if valid else None for value, valid in zip(values, array.is_valid().to_pylist(), strict=True)]
    return values


def _counted_before(counts: Sequence[int] | np.ndarray) -> np.ndarray:
    """How many there are before each entry, and in all."""
    return np.concatenate([[0], np.cumsum(np.asarray(counts, np.int64))])


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

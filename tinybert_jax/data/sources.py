"""Where questions come from. A new kind of source is a file that reads its rows, and a line here."""

from collections.abc import Callable, Sequence
from pathlib import Path

from tinybert_jax.data.arrow import ArrowExamples
from tinybert_jax.data.example import Example
from tinybert_jax.data.hub_rows import HUB_SOURCE, read_hub
from tinybert_jax.data.question_lines import read_unlabelled
from tinybert_jax.data.squad import read_json_file
from tinybert_jax.data.validation import check_whole
from tinybert_jax.errors import UserError

# What reads a file of a suffix, that before .gz: (source, check_offsets) -> examples.
FILE_READERS: dict[str, Callable[[str, bool], Sequence[Example]]] = {
    ".json": read_json_file,
    ".gz": read_json_file,
    ".arrow": ArrowExamples,
    ".jsonl": read_unlabelled,
}


def read_squad(source: str | Path, *, check_offsets: bool = True) -> Sequence[Example]:
    """Reads and validates SQuAD 1.1 or 2.0 data from any of the sources, all of it, or questions without labels.

    Args:
        source: a JSON file in SQuAD's layout, plain or gzipped, an .arrow file of ours, a .jsonl file of unlabelled
            questions, {"id", "question", "context"} a line, plain or gzipped, or a hub data set and split
            such as "rajpurkar/squad_v2:validation", with a configuration "google/xquad/xquad.de:validation", at a
            branch, tag or commit "rajpurkar/squad_v2@main:validation", or both, in this order. A path that exists is
            always read as a file.
        check_offsets: verify that every answer stands at its offset. Scoring needs only the answers' texts
            and reads with False; a missing offset then becomes -1.

    Returns:
        The questions in the data's order; those of an .arrow file are read from it whenever they are asked for. Without
        an `is_impossible` key (SQuAD 1.1, hub data sets) a question is unanswerable if it has no answers. Integer ids
        become strings.

    Raises:
        UserError: the source is missing, unreadable, not SQuAD or holds no question; an id repeats; an answer
            is not at its offset; `is_impossible` and the answers contradict each other.
    """
    source = str(source)
    examples = reader_of(source)(source, check_offsets)
    check_whole(examples, source)
    return examples


def reader_of(source: str) -> Callable[[str, bool], Sequence[Example]]:
    """What reads a source; nothing of it is read yet.

    Raises:
        UserError: there is no such file, and it is no name of a hub data set.
    """
    path = Path(source)
    if path.exists():
        inside = Path(path.stem).suffix if path.suffix == ".gz" else path.suffix
        return FILE_READERS.get(inside, read_json_file)
    if path.suffix not in FILE_READERS and HUB_SOURCE.fullmatch(source):
        return read_hub
    raise UserError(
        f"{source} does not exist: give a SQuAD JSON file (.json or .json.gz), an .arrow file of `augment`, questions "
        'without labels (.jsonl), or a hub data set and split such as "rajpurkar/squad_v2:validation", '
        '"google/xquad/xquad.de:validation" or "rajpurkar/squad_v2@main:validation"'
    )

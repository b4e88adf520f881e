"""Copies of a data set with words replaced, written to disk without being held."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from tinybert_jax.augment.candidates import Candidates
from tinybert_jax.augment.copies import draw_copies
from tinybert_jax.data import Example
from tinybert_jax.data.squad_writer import write_squad
from tinybert_jax.processes import from_first
from tinybert_jax.store.cache import Entry
from tinybert_jax.store.digests import new_key
from tinybert_jax.store.shares import fill_together


def augmented_file(candidates: Candidates, cache_dir: Path) -> Path:
    """The Arrow file of the copies in the cache; written where it is missing. All processes of a run call it.

    Raises:
        UserError: as `Candidates.compute`.
    """

    def make(entry: Entry, _: range) -> None:
        with entry.adding() as folder:
            write_copies(folder / "copies.arrow", candidates)

    entry = Entry(cache_dir, "augmented", _key(candidates))
    if not from_first(lambda: entry.is_begun):  # by all of them: what `make` does, one does
        candidates.compute()
    return fill_together(entry, 1, make) / "copies.arrow"


def write_copies(path: Path, candidates: Candidates) -> None:
    """Computes what candidates are missing, draws all copies, and writes them in the format of the path's suffix.

    Raises:
        UserError: as `Candidates.compute`, or an unknown suffix.
    """
    candidates.compute()
    write_squad(path, _copies(candidates))


def _copies(candidates: Candidates) -> Iterator[Sequence[Example]]:
    """Every paragraph's copies, in order, one at a time."""
    from tqdm import tqdm

    total = len(candidates.paragraphs)
    both = zip(candidates.paragraphs, candidates, strict=True)
    for paragraph, replaceable in tqdm(both, "copies", total, disable=None, unit="paragraph", leave=False):
        yield from draw_copies(paragraph, replaceable, candidates.config)


def _key(candidates: Candidates) -> str:
    """Hashes all that decides the copies."""
    config = candidates.config
    drawn = (config.copies, config.probability, config.seed, config.rules)
    key = new_key(candidates.key, drawn)
    for paragraph in candidates.paragraphs:
        for example in paragraph:
            key.update(repr((example.id, example.question, example.answers, example.title)).encode())
    return key.hexdigest()

"""Copies of a data set with words replaced, written to disk without being held."""

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from tinybert_jax.augment.candidates import Candidates
from tinybert_jax.augment.copies import draw_copies
from tinybert_jax.data import Example
from tinybert_jax.data.squad_writer import write_squad

_FORMAT = 1  # raised when the same candidates would give other copies


def augmented_file(candidates: Candidates, folder: Path) -> Path:
    """The Arrow file of the copies in `folder`, named by all that decides them; written where it is missing.

    Raises:
        UserError: as `Candidates.compute`.
    """
    path = folder / f"{_key(candidates)}.arrow"
    if not path.exists():
        write_copies(path, candidates)
    return path


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
    sha256 = hashlib.sha256(repr((_FORMAT, candidates.key, drawn)).encode())
    for paragraph in candidates.paragraphs:
        for example in paragraph:
            sha256.update(repr((example.id, example.question, example.answers, example.title)).encode())
    return sha256.hexdigest()

"""Data augmentation: `python -m tinybert_jax.augment SOURCE DESTINATION [--copies 20] [--preset NAME] …`.

SOURCE is SQuAD JSON (plain or gzipped), what this command wrote as Arrow, or a hub data set with its split.
DESTINATION, by its suffix, is SQuAD 2.0 .json or .json.gz, or .arrow, which `train.py --augmented` reads without
holding it in memory.
Candidates for each word are found once and kept in the cache: a run that was stopped continues by the same command,
and other copies, seeds or probabilities draw from the same candidates.
"""

import functools
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from tinybert_jax.augment.candidates import Candidates, load_masked_lm
from tinybert_jax.augment.pipeline import write_copies
from tinybert_jax.augment.rules import AugmentConfig
from tinybert_jax.data import read_squad
from tinybert_jax.data.squad_writer import check_squad_path, paragraphs_of
from tinybert_jax.errors import UserError, run_script
from tinybert_jax.run.presets import PRESETS, PresetName
from tinybert_jax.run.runtime import configure
from tinybert_jax.store.cache import default_cache


def augment(
    source: Annotated[str, tyro.conf.arg(metavar="SOURCE")],
    destination: Annotated[Path, tyro.conf.arg(metavar="DESTINATION")],
    *,
    copies: int = 20,
    model: str = "google-bert/bert-base-uncased",
    glove: Path | None = None,
    probability: float = 0.4,
    candidates: int = 15,
    seed: int = 0,
    preset: PresetName = "recommended",
    dtype: Literal["float32", "bfloat16"] = "bfloat16",
    cache: Path | None = None,
) -> None:
    """Writes a SQuAD data set with copies of its paragraphs in which words are replaced.

    Args:
        source: SQuAD 1.1 or 2.0: JSON, plain or gzipped, Arrow, or a hub data set,
            "owner/name[/configuration][@revision]:split".
        destination: the file to write, .json, .json.gz or .arrow; it must not exist yet.
        copies: how many to make of each paragraph.
        model: a BERT with its masked-LM head, a folder or a hub id, "owner/name" or "owner/name@revision".
        glove: GloVe vectors, text or zip, for words of several pieces; without them those words stay.
        probability: how likely a word that can be replaced is replaced in a copy.
        candidates: how many words are found for each word; one of them, at random, replaces it in a copy.
        seed: decides which words are replaced, and by which candidates.
        preset: whose rules say which words are replaced, and what becomes of answers and originals.
        dtype: what the masked LM computes in.
        cache: where candidates are kept between runs; ~/.cache/tinybert_jax if not given.

    Raises:
        UserError: data, model or vectors are missing or malformed, or the destination exists.
    """
    check_squad_path(destination)
    if destination.exists():
        raise UserError(f"{destination} exists already: name a new file, or remove that one first")
    config = AugmentConfig(copies, model, glove, probability, candidates, seed, PRESETS[preset].augment, dtype)
    examples = read_squad(source)
    if not examples[0].is_labelled:
        raise UserError(
            f"{source} has no labels, which a file of copies would show as questions without an answer: train on it, "
            "with `augment` in the recipe, and the run makes the copies itself"
        )
    paragraphs = list(paragraphs_of(examples))
    found = Candidates(paragraphs, load_masked_lm(model), config, cache or default_cache())
    write_copies(destination, found)


def main() -> None:
    """The command line."""

    @functools.wraps(augment)
    def command(*positional: Any, **named: Any) -> None:
        configure(named["cache"])
        augment(*positional, **named)

    tyro.cli(command, prog="tinybert augment", config=(tyro.conf.PositionalRequiredArgs,))


if __name__ == "__main__":
    run_script(main, "continues")

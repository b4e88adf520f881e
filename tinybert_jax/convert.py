"""Checkpoint conversion: `python -m tinybert_jax.convert SRC DST [--to transformers|orbax]`.

SRC is anything `load_pretrained` reads. `transformers` writes safetensors that `AutoModelForQuestionAnswering`
loads; `orbax` writes the parameter tree for JAX programs. Both folders carry config and tokenizer, and can be
given wherever a model is asked for.
"""

from pathlib import Path
from typing import Literal

from tinybert_jax.errors import UserError, run_script
from tinybert_jax.hub import locate
from tinybert_jax.model.checkpoint_files import write_orbax
from tinybert_jax.model.pretrained import load_pretrained, save_pretrained
from tinybert_jax.store.files import atomic_path, write_json


def convert(source: str, destination: Path, to: Literal["transformers", "orbax"] = "transformers") -> None:
    """Converts a checkpoint into a folder of the other layout.

    Args:
        source: a hub id, or a folder in any layout `load_pretrained` reads.
        destination: the folder to write; it must not exist yet.
        to: its layout.

    Raises:
        UserError: the source cannot be loaded, or the destination exists.
    """
    if destination.exists():
        raise UserError(f"{destination} exists already: name a new folder, or remove that one first")
    config, params = load_pretrained(source)
    tokenizer = _tokenizer(source)
    if to == "transformers":
        save_pretrained(destination, config, params, tokenizer)
        return
    with atomic_path(destination) as folder:
        folder.mkdir()
        write_json(folder / "config.json", config.to_transformers())
        if tokenizer is not None:
            tokenizer.save_pretrained(str(folder))
        write_orbax(folder, params)


def _tokenizer(source: str):
    """The source's tokenizer; None where it has none, since weights convert without one."""
    from tinybert_jax.data import load_tokenizer

    folder = locate(source)
    if not any((folder / name).exists() for name in ("tokenizer.json", "vocab.txt", "vocab.json")):
        return None
    return load_tokenizer(folder)


def main() -> None:
    """The command line."""
    import tyro

    tyro.cli(convert, prog="tinybert convert", config=(tyro.conf.PositionalRequiredArgs,))


if __name__ == "__main__":
    run_script(main)

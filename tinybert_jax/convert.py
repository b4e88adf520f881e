"""Checkpoint conversion: `python -m tinybert_jax.convert SOURCE DESTINATION [--to …] [--layers 6]`.

SOURCE is anything `load_pretrained` reads: an encoder, a masked LM or a question-answering model. It stays what it is.
`--to transformers` writes safetensors that `from_pretrained` loads, `--to orbax` the parameter tree for JAX programs.
Both folders have config and tokenizer, and can be given wherever a model is asked for. With `--layers` only some layers
are kept: a student that has still to be trained.
"""

import warnings
from pathlib import Path
from typing import Annotated, Literal

import tyro

from tinybert_jax.data.tokenizer import check_ids_fit, load_tokenizer
from tinybert_jax.errors import UserError, run_script
from tinybert_jax.hub import locate
from tinybert_jax.inference.settings import SETTINGS_FILE, load_settings, write_settings
from tinybert_jax.model import Model, cut_student, layers_of
from tinybert_jax.model.checkpoint_files import write_orbax
from tinybert_jax.model.pretrained import kind_of, load_stored, save_pretrained
from tinybert_jax.store.files import atomic_path, write_json

_DESCRIPTIONS = {
    "ForQuestionAnswering": "a question-answering model",
    "ForMaskedLM": "a masked LM",
    "Model": "an encoder without a head: fine-tune it before it can answer",
}


def convert(
    source: Annotated[str, tyro.conf.arg(metavar="SOURCE")],
    destination: Annotated[Path, tyro.conf.arg(metavar="DESTINATION")],
    to: Literal["transformers", "orbax"] = "transformers",
    layers: str | None = None,
    positions: int | None = None,
    allow_non_finite: bool = False,
) -> None:
    """Converts a checkpoint into a folder of the other layout; a warning names tensors of heads that are left out.

    Args:
        source: a hub id, "owner/name" or "owner/name@revision", or a folder in any layout `load_pretrained` reads.
        destination: the folder to write; it must not exist yet.
        to: its layout: "transformers", safetensors that `from_pretrained` loads, or "orbax". `tinybert export` writes
            ONNX and StableHLO.
        layers: keeps only these: "6", so many evenly spaced ones; "half", half of them, evenly spaced; "0,2,4", these,
            counted from 0; "first" or "last", the half at that end; "first:4" or "last:4", so many there.
        positions: shortens the position table to inputs of so many tokens.
        allow_non_finite: converts weights as they are, NaN and infinities included, and names their tensors.

    Raises:
        UserError: the source cannot be loaded, a token has no embedding, the destination exists, or the source does not
            have such layers or positions.
    """
    if destination.exists():
        raise UserError(f"{destination} exists already: name a new folder, or remove that one first")
    settings = load_settings(source)
    config, params, left_out = load_stored(source, allow_non_finite=allow_non_finite)
    if left_out:
        warnings.warn(f"left out, as no network here has them: {', '.join(sorted(left_out))}", stacklevel=2)
    is_cut = layers is not None or positions is not None
    if is_cut:
        count = config.num_hidden_layers
        config, params = cut_student(Model(config, params), layers_of(layers or str(count), count), positions)
    tokenizer = _tokenizer(source)
    if tokenizer is not None:
        check_ids_fit(source, tokenizer, config.vocab_size)
    with atomic_path(destination) as folder:
        if to == "transformers":
            save_pretrained(folder, config, params, tokenizer)
        else:
            folder.mkdir()
            write_json(folder / "config.json", config.to_transformers(kind_of(params)))
            if tokenizer is not None:
                tokenizer.save_pretrained(str(folder))
            write_orbax(folder, params)
        if (locate(source) / SETTINGS_FILE).exists() and not is_cut:  # they are of a model that is trained
            write_settings(folder, settings)
    print(f"{destination} holds {_DESCRIPTIONS[kind_of(params)]}")


def _tokenizer(source: str):
    """The source's tokenizer; None where it has none, since weights convert without one."""
    folder = locate(source)
    if not any((folder / name).exists() for name in ("tokenizer.json", "vocab.txt", "vocab.json")):
        return None
    return load_tokenizer(folder)


def main() -> None:
    """The command line."""
    tyro.cli(convert, prog="tinybert convert", config=(tyro.conf.PositionalRequiredArgs,))


if __name__ == "__main__":
    run_script(main)

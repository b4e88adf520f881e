"""Question-answering data sets of the hub, a row a question, read through `datasets`."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tinybert_jax.data.example import Example
from tinybert_jax.data.validation import Row, hold
from tinybert_jax.errors import UserError
from tinybert_jax.hub import why

# The configuration is a part of the name, as a folder is; what follows "@" may have slashes, as refs/convert/parquet.
HUB_SOURCE = re.compile(
    r"(?P<name>\w[\w.-]*/[\w.-]+)(/(?P<config>[\w.-]+))?(@(?P<revision>[\w./-]+))?:(?P<split>[\w.-]+)", re.ASCII
)


def read_hub(source: str, check_offsets: bool) -> list[Example]:
    """Reads a split of a data set, named "owner/name:split", "owner/name/config:split" or "owner/name@revision:split".

    Raises:
        UserError: it cannot be loaded, or as `to_example`.
    """
    return hold(_rows(source), check_offsets)


def _rows(source: str) -> Iterator[Row]:
    from datasets.config import HF_ENDPOINT

    try:
        rows = load(source)
    except Exception as error:  # the clients' own, their HTTP library's, or a reader's of any format
        raise UserError(f"cannot load hub data set {source} from {HF_ENDPOINT}: {why(error)}") from error
    for r, row in enumerate(rows):
        yield Row(f"hub data set {source}, row {r}", row)


def load(source: str) -> Any:
    """The rows of a split, as `datasets` reads them; errors of its clients are passed on."""
    from datasets import load_dataset
    from huggingface_hub import HfApi

    match = HUB_SOURCE.fullmatch(source)
    assert match is not None  # by this it was told from a file
    name, config, revision, split = match.group("name", "config", "revision", "split")
    try:
        HfApi().dataset_info(name, revision=revision)
    except Exception as error:  # no connection, whatever its name: what an earlier run fetched will do
        try:
            commit = _commit_of(name, revision, local_files_only=True)
        except OSError:
            raise error from None
        rows: Any = load_dataset(name, config, split=split)
        # Without a connection `datasets` gives what it loaded last, whichever revision that was.
        if Path(rows.cache_files[0]["filename"]).parent.name != commit:
            raise
        return rows
    _commit_of(name, revision)
    return load_dataset(name, config, split=split, revision=revision)


def _commit_of(name: str, revision: str | None, **options: Any) -> str:
    """The commit that a revision stands for; the client keeps what it learns of that from the hub."""
    from huggingface_hub import snapshot_download

    every_repository_has = {"allow_patterns": ".gitattributes"}
    return Path(snapshot_download(name, repo_type="dataset", revision=revision, **every_repository_has, **options)).name

"""Packages that only some commands need: asked for by name, so that their absence is said in one line."""

import importlib
from importlib.metadata import version
from types import ModuleType

from packaging.version import Version

from tinybert_jax.errors import UserError

# The least versions that the code here was written for; pyproject.toml says the same.
_LEAST = {
    "jinja2": "3.1",
    "matplotlib": "3.9",
    "onnx": "1.17",
    "onnxruntime": "1.20",
    "tensorboardX": "2.6.2",
    "wandb": "0.19",
}


def require(package: str, extra: str) -> ModuleType:
    """Imports a package that an extra of ours installs.

    Args:
        package: its name, to import and to install by.
        extra: the extra, `pip install 'tinybert-jax[extra]'`.

    Raises:
        UserError: it is not installed, or older than what is needed.
    """
    install = f"pip install 'tinybert-jax[{extra}]'"
    try:
        module = importlib.import_module(package)
    except ImportError as error:
        raise UserError(f"{package} must be installed for this, and cannot be imported ({error}): {install}") from error
    found, least = version(package), _LEAST[package]
    if Version(found) < Version(least):
        raise UserError(f"{package} must be at least {least}, got {found}: {install} --upgrade")
    return module

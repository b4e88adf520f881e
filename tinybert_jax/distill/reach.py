"""Which parameters a loss reads at all."""

from collections.abc import Callable
from typing import Any

import jax
from jax import Array
from jax.extend.core import Jaxpr, JaxprEqn, Literal, jaxprs_in_params


def reached(loss: Callable[..., Array], params: Any, *inputs: Any) -> Any:
    """A tree of bools like `params`: False where the loss depends on the leaf for no value of it.

    Such a leaf's gradient is None in torch, whose optimisers skip it; `jax.grad` gives 0, with which a parameter would
    still decay. Read off the traced function: nothing is computed, so it can be called while something else is traced.

    Args:
        loss: `loss(params, *inputs)`, a scalar.
        params: its parameters, a tree.
        inputs: what else it reads.
    """
    leaves, structure = jax.tree.flatten(params)
    read = _inputs_read(jax.make_jaxpr(loss)(params, *inputs).jaxpr, [True])
    return structure.unflatten(read[: len(leaves)])


def _inputs_read(jaxpr: Jaxpr, outputs_read: list[bool]) -> list[bool]:
    """Which inputs the wanted outputs depend on, from the last operation to the first."""
    needed = _variables(jaxpr.outvars, outputs_read)
    for equation in reversed(jaxpr.eqns):
        results_read = [result in needed for result in equation.outvars]
        if any(results_read):
            needed |= _variables(equation.invars, _operands_read(equation, results_read))
    return [variable in needed for variable in jaxpr.invars]


def _operands_read(equation: JaxprEqn, results_read: list[bool]) -> list[bool]:
    """Looks into calls; any other operation reads all that it is given, and so do loops, on the safe side."""
    inner = list(jaxprs_in_params(equation.params))
    arity = len(equation.invars), len(equation.outvars)
    is_call = equation.primitive.name != "scan" and [(len(f.invars), len(f.outvars)) for f in inner] == [arity]
    return _inputs_read(inner[0], results_read) if is_call else [True] * len(equation.invars)


def _variables(atoms: list[Any], chosen: list[bool]) -> set[Any]:
    return {atom for atom, is_chosen in zip(atoms, chosen, strict=True) if is_chosen and not isinstance(atom, Literal)}

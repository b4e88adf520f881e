"""What devices say to each other in a compiled program, read off its HLO text as XLA's CPU backend writes it.

Other backends split a collective into a start and an end, a form that is not read here.
"""

import math
import re
from collections import Counter
from collections.abc import Iterable
from typing import Any, NamedTuple

# `%name = type opcode(operands), …`; a tuple's type is in parentheses, and a layout in it may hold more of them.
_INSTRUCTION = re.compile(r"^\s*(?:ROOT )?%[\w.\-]+ = (?P<type>\(.*?\)|\S+) (?P<opcode>[\w\-]+)\(")
_ARRAY = re.compile(r"\b(pred|[a-z]+(\d+)\w*)\[([\d,]*)\]")
_SOURCE = re.compile(r'\bop_name="([^"]+)"')
_COLLECTIVE = re.compile(r"all-reduce|all-gather|reduce-scatter|(ragged-)?all-to-all|collective-(permute|broadcast)")


class Array(NamedTuple):
    """An array's type as HLO writes it, "f32[768]", and what follows from it."""

    type: str
    dims: tuple[int, ...]
    bytes: int


class Collective(NamedTuple):
    """What devices exchange at once."""

    kind: str  # HLO's name, "all-reduce" and so on
    arrays: list[Array]  # its results on one device
    source: str  # the operation in the program that it comes from, "jit(step)/…/dot_general"


def read_arrays(type_: str) -> list[Array]:
    """The arrays of an instruction's type."""
    found = []
    for name, bits, sizes in _ARRAY.findall(type_):
        dims = tuple(int(size) for size in sizes.split(",") if size)
        found.append(Array(f"{name}[{sizes}]", dims, math.prod(dims) * int(bits or 8) // 8))
    return found


def find_collectives(hlo: str) -> list[Collective]:
    """The collectives of a module's text, `compiled.as_text()`; one in a loop once, however often the loop runs."""
    found = []
    for line in hlo.splitlines():
        one = _INSTRUCTION.match(line)
        if one and _COLLECTIVE.fullmatch(one["opcode"]):
            source = _SOURCE.search(line)
            found.append(Collective(one["opcode"], read_arrays(one["type"]), source[1] if source else ""))
    return found


def sort_traffic(collectives: list[Collective], gradients: Iterable[int]) -> dict[str, Any]:
    """Tells what a training step must exchange from the rest.

    Args:
        collectives: the step's.
        gradients: bytes of each parameter's gradient. Only an all-reduce of the whole array counts as one: what is
            scattered or gathered is not what data parallelism needs.

    Returns:
        kinds: instructions by kind; gradient_collectives: how many carry gradients, gradient_bytes: as large as a
        gradient each, none counted twice; scalars: losses, norms, counts; others: everything else.
    """
    left, carriers, gradient_bytes, scalars, others = Counter(gradients), set(), 0, 0, []
    for number, one in enumerate(collectives):
        for array in one.arrays:
            if not array.dims:
                scalars += 1
            elif one.kind == "all-reduce" and left[array.bytes]:
                left[array.bytes] -= 1
                gradient_bytes += array.bytes
                carriers.add(number)
            else:
                others.append({"kind": one.kind, "type": array.type, "bytes": array.bytes, "source": one.source})
    return {
        "kinds": dict(Counter(one.kind for one in collectives)),
        "gradient_collectives": len(carriers),
        "gradient_bytes": gradient_bytes,
        "scalars": scalars,
        "others": others,
    }

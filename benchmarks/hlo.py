"""What a compiled program does, read off its HLO text: a GPU's kernels, and what devices say to each other.

What a kernel reads and writes is counted once each, as if nothing of one kernel's were still in a cache for the next.
"""

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

_COMPUTATION = re.compile(r"^(?P<entry>ENTRY )?%(?P<name>[\w.\-]+) .*\{$")
_INSTRUCTION = re.compile(
    r"^\s*(?:ROOT )?%(?P<name>[\w.\-]+) = (?P<type>\(.*?\)|\S+) (?P<opcode>[\w\-]+)"
    r"\((?P<operands>[^()]*)\)(?P<rest>.*)$"
)
_ARRAY = re.compile(r"\b(pred|[a-z]+(\d+)\w*)\[([\d,]*)\]")
# These are no kernels: they name what is there, or hold others.
_NO_KERNELS = {"parameter", "constant", "tuple", "get-tuple-element", "bitcast", "after-all", "partition-id"}
_COLLECTIVE = re.compile(r"all-reduce|all-gather|reduce-scatter|(ragged-)?all-to-all|collective-(permute|broadcast)")
# A start's type of these kinds holds the operands before the results; of the others, the results alone.
_OPERANDS_FIRST = ("all-gather", "collective-permute", "all-to-all", "ragged-all-to-all", "collective-broadcast")


class Array(NamedTuple):
    """An array's type as HLO writes it, "f32[768]", and what follows from it."""

    type: str
    dims: tuple[int, ...]
    bytes: int


class Instruction(NamedTuple):
    """A line of HLO: `%name = type opcode(operands), rest`."""

    type: str
    opcode: str
    operands: list[str]
    rest: str

    @property
    def arrays(self) -> list[Array]:
        """Of its result."""
        found = []
        for name, bits, sizes in _ARRAY.findall(self.type):
            dims = tuple(int(size) for size in sizes.split(",") if size)
            found.append(Array(f"{name}[{sizes}]", dims, math.prod(dims) * int(bits or 8) // 8))
        return found

    @property
    def bytes(self) -> int:
        """Of all its result's arrays."""
        return sum(array.bytes for array in self.arrays)

    def named(self, attribute: str) -> str:
        """The computation that an attribute names."""
        found = re.search(rf"\b{attribute}=%([\w.\-]+)", self.rest)
        return found[1] if found else ""

    def quoted(self, attribute: str) -> str:
        """An attribute's string."""
        found = re.search(rf'\b{attribute}(?:="|":")([^"]+)"', self.rest)
        return found[1] if found else ""


Computation = dict[str, Instruction]


def read(hlo: str) -> tuple[dict[str, Computation], str]:
    """The computations of a module's text, `compiled.as_text()`, and the name of the one that it enters."""
    computations: dict[str, Computation] = {}
    entry, current = "", {}
    for line in hlo.splitlines():
        if found := _COMPUTATION.match(line):
            current = computations[found["name"]] = {}
            entry = found["name"] if found["entry"] else entry
        elif found := _INSTRUCTION.match(line):
            operands = re.findall(r"%([\w.\-]+)", found["operands"])
            current[found["name"]] = Instruction(found["type"], found["opcode"], operands, found["rest"])
    return computations, entry


# --- kernels ---------------------------------------------------------------------------------------------------------


class Kernel(NamedTuple):
    """One kernel, or one that a loop launches again and again."""

    kind: str  # how it was made: a fusion's emitter, a library's call, or HLO's name of the operation
    source: str  # the operation in the program that it comes from, "jit(step)/…/dot_general"
    launches: int
    bytes: int  # read and written in one run
    flops: float  # of the matrix products in one run

    def seconds(self, peak: float, bandwidth: float) -> float:
        """The least that all its runs can take: the products at `peak` FLOP/s, or the bytes at `bandwidth`."""
        return self.launches * max(self.flops / peak, self.bytes / bandwidth)


def find_kernels(hlo: str) -> list[Kernel]:
    """The kernels of a module's text; those of loops' bodies as often as the loops run."""
    computations, entry = read(hlo)
    return list(_walk(computations, entry, 1))


def _walk(computations: dict[str, Computation], name: str, launches: int) -> Iterator[Kernel]:
    computation = computations[name]
    for one in computation.values():
        if one.opcode == "while":
            trips = re.search(r'"known_trip_count":\{"n":"(\d+)"', one.rest)
            yield from _walk(computations, one.named("body"), launches * int(trips[1] if trips else 1))
        elif one.opcode == "call":
            yield from _walk(computations, one.named("to_apply"), launches)
        elif one.opcode not in _NO_KERNELS and not one.opcode.endswith("-done"):
            yield _kernel(one, computation, computations.get(one.named("calls"), {}), launches)


def _kernel(one: Instruction, around: Computation, fused: Computation, launches: int) -> Kernel:
    operands = [around[name] for name in one.operands]
    kind = one.quoted("custom_call_target") or one.opcode
    if fused:
        kind = one.quoted("kind") or one.rest.split("kind=")[-1].split(",")[0]
        flops = sum(_dot_flops(inner, fused) for inner in fused.values() if inner.opcode == "dot")
        moved = sum(_read_bytes(name, fused) for name, inner in fused.items() if inner.opcode == "parameter")
    else:
        flops = _attention_flops(kind, operands) if "fmha" in kind else 0.0
        moved = sum(operand.bytes for operand in operands)
    return Kernel(kind, one.quoted("op_name"), launches, moved + one.bytes, flops)


def _read_bytes(parameter: str, fused: Computation) -> int:
    """What a fusion reads of an operand: of one that it only takes slices of, the slices."""
    users = [user for user in fused.values() if parameter in user.operands]
    if users and all("slice" in user.opcode and user.operands[0] == parameter for user in users):
        return sum((fused[user.operands[1]] if "update" in user.opcode else user).bytes for user in users)
    return fused[parameter].bytes


def _dot_flops(dot: Instruction, around: Computation) -> float:
    left = around[dot.operands[0]].arrays[0].dims
    found = re.search(r"lhs_contracting_dims=\{([\d,]*)\}", dot.rest)
    assert found is not None
    return 2.0 * math.prod(dot.arrays[0].dims) * math.prod(left[int(axis)] for axis in found[1].split(","))


def _attention_flops(target: str, operands: list[Instruction]) -> float:
    """Two products forward, five backward, each of 2·B·T·N·H·S."""
    queries, keys = (operand.arrays[0].dims for operand in operands[:2])
    return (5 if "Backward" in target else 2) * 2.0 * math.prod(queries) * keys[1]


# --- collectives -----------------------------------------------------------------------------------------------------


class Collective(NamedTuple):
    """What devices exchange at once."""

    kind: str  # HLO's name, "all-reduce" and so on, for the asynchronous form too
    arrays: list[Array]  # its results on one device
    source: str  # the operation in the program that it comes from

    @property
    def bytes(self) -> int:
        """Of all results."""
        return sum(array.bytes for array in self.arrays)


def find_collectives(hlo: str) -> list[Collective]:
    """The collectives of a module's text; one in the body of a loop once, however often the loop runs."""
    found = []
    for one in (one for computation in read(hlo)[0].values() for one in computation.values()):
        kind, arrays = one.opcode.removesuffix("-start"), one.arrays
        if not _COLLECTIVE.fullmatch(kind):  # a "-done" hands over what its "-start" has moved
            continue
        if kind != one.opcode and kind in _OPERANDS_FIRST:
            arrays = [array for array in arrays if array.dims]  # a permute has scalars of its own
            arrays = arrays[len(arrays) // 2 :]
        found.append(Collective(kind, arrays, one.quoted("op_name")))
    return found


def sort_traffic(collectives: list[Collective], gradients: Iterable[int]) -> dict[str, Any]:
    """Tells what a training step must exchange from the rest.

    Args:
        collectives: the step's.
        gradients: bytes of each parameter's gradient. Only an all-reduce of the whole array counts as one: what is
            scattered or gathered is not what data parallelism needs.

    Returns:
        kinds: instructions by kind; gradient_collectives: how many carry gradients, gradient_bytes: as large as a
        gradient each, none counted twice; scalars: losses, norms, counts; others: everything else; largest: bytes of
        the largest instruction.
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
        "largest": max((one.bytes for one in collectives), default=0),
    }

"""The kernels of a program compiled for a GPU, read off its HLO text: what each moves and multiplies.

What a kernel reads and writes is counted once each, as if nothing of one kernel's were still in a cache for the next.
"""

import math
import re
from collections.abc import Iterator
from typing import NamedTuple

_COMPUTATION = re.compile(r"^(?P<entry>ENTRY )?%(?P<name>[\w.\-]+) .*\{$")
_INSTRUCTION = re.compile(
    r"^\s*(?:ROOT )?%(?P<name>[\w.\-]+) = (?P<type>\(.*?\)|\S+) (?P<opcode>[\w\-]+)"
    r"\((?P<operands>[^()]*)\)(?P<rest>.*)$"
)
_ARRAY = re.compile(r"\b(pred|[a-z]+(\d+)\w*)\[([\d,]*)\]")
# These are no kernels: they name what is there, or hold others.
_NO_KERNELS = {"parameter", "constant", "tuple", "get-tuple-element", "bitcast", "after-all", "partition-id"}


class Kernel(NamedTuple):
    """One kernel, or one that a loop launches again and again.

    Attributes:
        kind: how it was made: a fusion's emitter, a library's call, or HLO's name of the operation.
        source: the operation in the program that it comes from, "jit(step)/…/dot_general".
        launches: how often it runs.
        bytes: read and written in one run.
        flops: of the matrix products in one run.
    """

    kind: str
    source: str
    launches: int
    bytes: int
    flops: float

    def seconds(self, peak: float, bandwidth: float) -> float:
        """The least that all its runs can take: the products at `peak` FLOP/s, or the bytes at `bandwidth`."""
        return self.launches * max(self.flops / peak, self.bytes / bandwidth)


class _Instruction(NamedTuple):
    type: str
    opcode: str
    operands: list[str]
    rest: str

    def named(self, attribute: str) -> str:
        """The computation that an attribute names."""
        found = re.search(rf"\b{attribute}=%([\w.\-]+)", self.rest)
        return found[1] if found else ""

    def quoted(self, attribute: str) -> str:
        """An attribute's string."""
        found = re.search(rf'\b{attribute}(?:="|":")([^"]+)"', self.rest)
        return found[1] if found else ""


_Computation = dict[str, _Instruction]


def find_kernels(hlo: str) -> list[Kernel]:
    """The kernels of a module's text, `compiled.as_text()`; those of loops' bodies as often as the loops run."""
    computations, entry = _read(hlo)
    return list(_walk(computations, entry, 1))


def _read(hlo: str) -> tuple[dict[str, _Computation], str]:
    computations: dict[str, _Computation] = {}
    entry, current = "", {}
    for line in hlo.splitlines():
        if found := _COMPUTATION.match(line):
            current = computations[found["name"]] = {}
            entry = found["name"] if found["entry"] else entry
        elif found := _INSTRUCTION.match(line):
            operands = re.findall(r"%([\w.\-]+)", found["operands"])
            current[found["name"]] = _Instruction(found["type"], found["opcode"], operands, found["rest"])
    return computations, entry


def _walk(computations: dict[str, _Computation], name: str, launches: int) -> Iterator[Kernel]:
    computation = computations[name]
    for one in computation.values():
        if one.opcode == "while":
            trips = re.search(r'"known_trip_count":\{"n":"(\d+)"', one.rest)
            yield from _walk(computations, one.named("body"), launches * int(trips[1] if trips else 1))
        elif one.opcode == "call":
            yield from _walk(computations, one.named("to_apply"), launches)
        elif one.opcode not in _NO_KERNELS and not one.opcode.endswith("-done"):
            yield _kernel(one, computation, computations.get(one.named("calls"), {}), launches)


def _kernel(one: _Instruction, around: _Computation, fused: _Computation, launches: int) -> Kernel:
    operands = [around[name] for name in one.operands]
    kind = one.quoted("custom_call_target") or one.opcode
    if fused:
        kind = one.quoted("kind") or one.rest.split("kind=")[-1].split(",")[0]
        flops = sum(_dot_flops(inner, fused) for inner in fused.values() if inner.opcode == "dot")
        moved = sum(_read_bytes(name, fused) for name, inner in fused.items() if inner.opcode == "parameter")
    else:
        flops = _attention_flops(kind, operands) if "fmha" in kind else 0.0
        moved = sum(_bytes(operand.type) for operand in operands)
    return Kernel(kind, one.quoted("op_name"), launches, moved + _bytes(one.type), flops)


def _read_bytes(parameter: str, fused: _Computation) -> int:
    """What a fusion reads of an operand: of one that it only takes slices of, the slices."""
    users = [user for user in fused.values() if parameter in user.operands]
    if users and all("slice" in user.opcode and user.operands[0] == parameter for user in users):
        read = (fused[user.operands[1]] if "update" in user.opcode else user for user in users)
        return sum(_bytes(one.type) for one in read)
    return _bytes(fused[parameter].type)


def _shapes(type_: str) -> list[tuple[int, list[int]]]:
    found = _ARRAY.findall(type_)
    return [(int(bits or 8) // 8, [int(size) for size in dims.split(",") if size]) for _, bits, dims in found]


def _bytes(type_: str) -> int:
    return sum(width * math.prod(dims) for width, dims in _shapes(type_))


def _dot_flops(dot: _Instruction, around: _Computation) -> float:
    ((_, result),) = _shapes(dot.type)
    left = _shapes(around[dot.operands[0]].type)[0][1]
    found = re.search(r"lhs_contracting_dims=\{([\d,]*)\}", dot.rest)
    assert found is not None
    return 2.0 * math.prod(result) * math.prod(left[int(axis)] for axis in found[1].split(","))


def _attention_flops(target: str, operands: list[_Instruction]) -> float:
    """Two products forward, five backward, each of 2·B·T·N·H·S."""
    queries, keys = _shapes(operands[0].type)[0][1], _shapes(operands[1].type)[0][1]
    return (5 if "Backward" in target else 2) * 2.0 * math.prod(queries) * keys[1]

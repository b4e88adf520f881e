"""What a compiled step says to other devices: collectives of its HLO text, their bytes, and the lines they come from.

A collective in the body of a loop is counted once, however often the loop runs.
"""

import math
import re
from collections import Counter
from collections.abc import Iterable
from typing import Any, NamedTuple

_KINDS = "all-reduce|all-gather|reduce-scatter|all-to-all|ragged-all-to-all|collective-permute|collective-broadcast"
# `%name = type kind(operands), …`; a "-done" hands over what its "-start" has moved, and is left out.
_COLLECTIVE = re.compile(rf"^\s*(?:ROOT )?%?\S+ = (?P<type>.+?) (?P<kind>{_KINDS})(?P<start>-start)?\(", re.MULTILINE)
_ARRAY = re.compile(r"\b(pred|[a-z]+(\d+)\w*)\[([\d,]*)\]")
# A start's type of these kinds holds the operands before the results; of the others, the results alone.
_OPERANDS_FIRST = ("all-gather", "collective-permute", "all-to-all", "ragged-all-to-all", "collective-broadcast")


class Array(NamedTuple):
    """A result of a collective on one device.

    Attributes:
        type: as HLO writes it, "f32[768]".
        bytes: its size.
        scalar: whether it is one number.
        source: the line it comes from, "losses.py:222 span_cross_entropy"; in an instruction that XLA has combined
            from several, the name of its operation.
    """

    type: str
    bytes: int
    scalar: bool
    source: str


class Collective(NamedTuple):
    """An instruction; `kind` is HLO's name, "all-reduce" and so on, for the asynchronous form too."""

    kind: str
    arrays: tuple[Array, ...]

    @property
    def bytes(self) -> int:
        """Of all results."""
        return sum(array.bytes for array in self.arrays)


def find_collectives(hlo: str, package: str = "tinybert_jax") -> list[Collective]:
    """The collectives of a module's text.

    Args:
        hlo: `compiled.as_text()`.
        package: a folder; the line that something comes from is the innermost in a file below it.
    """
    sources, found = _Sources(hlo, package), []
    for match in _COLLECTIVE.finditer(hlo):
        types = _ARRAY.findall(match["type"])
        if match["start"] and match["kind"] in _OPERANDS_FIRST:
            types = [one for one in types if one[2]]  # a permute has scalars of its own
            types = types[len(types) // 2 :]
        line = hlo[match.start() : hlo.find("\n", match.end())]
        arrays = map(_array, types, sources.of(line, len(types)))
        found.append(Collective(match["kind"], tuple(arrays)))
    return found


def _array(parts: tuple[str, str, str], source: str) -> Array:
    name, bits, dims = parts
    count = math.prod(int(size) for size in dims.split(",") if size)
    return Array(f"{name}[{dims}]", count * int(bits or 8) // 8, not dims, source)


class _Sources:
    """Resolves an instruction's `stack_frame_id` by the tables that precede the module's computations."""

    def __init__(self, hlo: str, package: str):
        self.package = f"/{package}/"
        self.files = self._table(hlo, "FileNames", r'^(\d+) "(.*)"$')
        self.functions = self._table(hlo, "FunctionNames", r'^(\d+) "(.*)"$')
        places = r"^(\d+) \{file_name_id=(\d+) function_name_id=(\d+) line=(\d+).*$"
        self.places = self._table(hlo, "FileLocations", places)
        self.frames = self._table(hlo, "StackFrames", r"^(\d+) \{file_location_id=(\d+) parent_frame_id=(\d+)\}$")

    @staticmethod
    def _table(hlo: str, title: str, row: str) -> dict[str, Any]:
        block = re.search(rf"^{title}\n((?:\d+ .*\n)*)", hlo, re.MULTILINE)
        rows = re.findall(row, block[1], re.MULTILINE) if block else []
        return {first: rest[0] if len(rest) == 1 else rest for first, *rest in rows}

    def of(self, line: str, arrays: int) -> list[str]:
        """Where an instruction's arrays come from.

        The innermost frame in the package for all; or of a combined instruction, whose frame is that of its first
        part, each part's operation: "jit(step)/(first:second:…)".
        """
        operation = re.search(r'op_name="([^"]*)"', line)
        name = operation[1] if operation else "unknown"
        parts = re.sub(r"^.*?/\((.*:.*)\)$", r"\1", name).split(":")
        if len(parts) == arrays > 1:
            return parts
        frame = re.search(r"stack_frame_id=(\d+)", line)
        return [self._line(frame[1] if frame else "") or name] * arrays

    def _line(self, number: str) -> str:
        offset = int(self.frames["1"][1]) if "1" in self.frames else 0  # the first frame is a root: its parent is none
        while number in self.frames:
            place, parent = self.frames[number]
            file, function, row = self.places[place]
            if self.package in self.files[file]:
                name = self.functions[function].split("<locals>.")[-1]
                return f"{self.files[file].split(self.package)[-1]}:{row} {name}"
            number = str(int(parent) - offset)
        return ""


class Traffic(NamedTuple):
    """The collectives of a training step, sorted by what they carry.

    Attributes:
        kinds: instructions by kind.
        gradient_collectives: instructions that carry gradients.
        gradient_bytes: bytes of arrays as large as a gradient each, no gradient counted twice.
        scalars: numbers: losses, norms, counts.
        others: everything else.
        largest: bytes of the largest instruction.
    """

    kinds: dict[str, int]
    gradient_collectives: int
    gradient_bytes: int
    scalars: int
    others: list[dict[str, Any]]
    largest: int


def sort_traffic(collectives: Iterable[Collective], gradients: Iterable[int]) -> Traffic:
    """Tells gradients from the rest.

    Args:
        collectives: the step's.
        gradients: bytes of each parameter's gradient. Only an all-reduce of the whole array counts as one: what is
            scattered or gathered is not what data parallelism needs.
    """
    left, kinds = Counter(gradients), Counter()
    gradient_collectives = gradient_bytes = scalars = largest = 0
    others = []
    for one in collectives:
        kinds[one.kind] += 1
        largest, before = max(largest, one.bytes), gradient_bytes
        for array in one.arrays:
            if array.scalar:
                scalars += 1
            elif one.kind == "all-reduce" and left[array.bytes]:
                left[array.bytes] -= 1
                gradient_bytes += array.bytes
            else:
                others.append({"kind": one.kind, "type": array.type, "bytes": array.bytes, "source": array.source})
        gradient_collectives += gradient_bytes > before
    return Traffic(dict(kinds), gradient_collectives, gradient_bytes, scalars, others, largest)

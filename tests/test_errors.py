import errno
import math
import re
import warnings
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Literal

import pytest

from tinybert_jax.errors import UserError, check, check_choices, check_least, check_numbers, check_read, run_script


def test_a_rule_that_holds_is_silent():
    check("rate", 0.5, True, "in [0, 1)")
    check_least(SimpleNamespace(steps=1, least=None), steps=1, least=3)


def test_a_broken_rule_is_stated_with_the_value():
    with pytest.raises(UserError, match=r"^rate must be in \[0, 1\), got 1.5$"):
        check("rate", 1.5, False, "in [0, 1)")


@pytest.mark.parametrize("value", [0, -1, float("nan")])
def test_a_field_below_its_least_value_is_named(value):
    with pytest.raises(UserError, match=f"^steps must be at least 1, got {value}$"):
        check_least(SimpleNamespace(steps=value), steps=1)


@dataclass
class Choices:
    kind: Literal["a", "b"] = "a"
    layers: Literal["all"] | tuple[int, ...] = "all"
    dtype: Literal["float32"] | Literal["auto"] | None = None
    name: str = "c"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"kind": "c"}, "kind must be one of 'a', 'b', got 'c'"),
        ({"kind": None}, "kind must be one of 'a', 'b', got None"),
        ({"layers": "none"}, "layers must be one of 'all', got 'none'"),
        ({"dtype": "float16"}, "dtype must be one of 'float32', 'auto', got 'float16'"),
    ],
    ids=["other", "none", "beside-a-tuple", "of-two"],
)
def test_a_name_that_is_no_choice_is_told_with_the_choices(change, said):
    check_choices(Choices())
    check_choices(Choices(layers=(1, 2), dtype="auto"))
    with pytest.raises(UserError, match=f"^{said}$"):
        check_choices(Choices(**change))


@dataclass
class Figures:
    rate: float | None = 0.5
    limit: float = math.inf
    steps: int = 2**31 - 1
    buckets: tuple[int, ...] = (8, 16)
    name: str = "1e999"
    is_on: bool = True


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"rate": math.nan}, "rate must be a finite number, got nan"),
        ({"rate": -math.inf}, "rate must be a finite number, got -inf"),
        ({"rate": 1e39}, "rate must be at most 3.4e[+]38, got 1e[+]39"),
        ({"limit": math.nan}, "limit must be a number, got nan"),
        ({"steps": 2**31}, "steps must be at most 2147483647, got 2147483648"),
        ({"steps": -(10**30)}, "steps must be at most 2147483647, got -10+$"),
        ({"buckets": (8, 10**12)}, "buckets must be at most 2147483647, got 10+$"),
    ],
    ids=["nan", "infinite", "beyond-float32", "limit-nan", "beyond-int32", "below-int32", "in-a-tuple"],
)
def test_numbers_that_no_array_can_hold_are_named(change, said):
    check_numbers(Figures(), but=("limit",))
    check_numbers(Figures(rate=None, limit=1.0))
    with pytest.raises(UserError, match=said):
        check_numbers(Figures(**change), but=("limit",))


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            OSError(errno.ENOSPC, "No space left", "{}/new/file"),
            "error: {}/new/file: No space left, with [0-9,.]+ MB free",
        ),
        (NotADirectoryError(errno.ENOTDIR, "Not a directory", "{}/a/b"), r"error: {}/a/b: Not a directory$"),
        (OSError("of somebody's\nown"), r"error: of somebody's own$"),
    ],
    ids=["full", "under a file", "no number"],
)
def test_what_the_operating_system_refuses_is_a_line(tmp_path, monkeypatch, capsys, error, said):
    def main():
        if error.filename:
            error.filename = error.filename.format(tmp_path)
        raise error

    monkeypatch.setattr("warnings.formatwarning", warnings.formatwarning)  # a script has one of its own
    with pytest.raises(SystemExit) as ended:
        run_script(main)
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert re.match(said.format(tmp_path), line)


@pytest.mark.parametrize(
    ("value", "unset", "message"),
    [
        (9, 1, "--top-k 9 would not be read, as it is out of use: leave it out, or give --list"),
        (True, False, "--top-k would not be read"),
        (Figures(steps=2), Figures(), r"--top-k\.\* would not be read"),
    ],
    ids=["number", "switch", "group"],
)
def test_a_flag_that_nothing_reads_is_refused(value, unset, message):
    with pytest.raises(UserError, match=message):
        check_read("top_k", value, unset, False, "it is out of use", "--list")
    check_read("top_k", value, unset, True, "it is out of use", "--list")
    check_read("top_k", unset, unset, False, "it is out of use", "--list")

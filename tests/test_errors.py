from types import SimpleNamespace

import pytest

from tinybert_jax.errors import UserError, check, check_least


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

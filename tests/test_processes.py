"""One process by itself; `tests/run/test_cluster.py` has two."""

import signal

import pytest

from tinybert_jax.interrupt import Stopped, held_signals, stop_signals
from tinybert_jax.processes import (
    Sharing,
    all_say,
    arrays_from_first,
    asked_to_stop,
    count,
    from_first,
    in_turn,
    index,
    is_first,
    sharing,
)


def test_an_only_process_is_the_first_and_makes_everything(tmp_path):
    assert (count(), index(), is_first()) == (1, 0, True)
    made = {"not": object()}  # nothing goes through JSON
    assert from_first(lambda: made) is made
    assert arrays_from_first(lambda: made, None) is made
    assert in_turn(lambda: made) is made
    assert all_say(made) == [made]
    with sharing(tmp_path / "cache"):
        assert Sharing.by is None  # with nobody
    assert not (tmp_path / "cache").exists()


def test_an_only_process_stops_at_once():
    assert not asked_to_stop(3)
    assert asked_to_stop(3, finished=True)
    with pytest.raises(Stopped), stop_signals("continues"), held_signals():
        signal.raise_signal(signal.SIGTERM)
        assert asked_to_stop(3)

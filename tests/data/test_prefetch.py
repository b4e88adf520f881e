import threading
import time
from contextlib import closing

import pytest

from tinybert_jax.data.prefetch import prefetch


def prefetch_threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("prefetch")]


@pytest.mark.parametrize("depth", [1, 2, 100])
@pytest.mark.parametrize("count", [0, 1, 7])
def test_items_come_in_their_order(depth, count):
    assert list(prefetch((i * i for i in range(count)), depth)) == [i * i for i in range(count)]
    assert not prefetch_threads()


def test_items_are_made_ahead_in_another_thread_and_no_further():
    made, threads = [], set()

    def items():
        for i in range(10):
            threads.add(threading.current_thread())
            made.append(i)
            yield i

    with closing(prefetch(items(), depth=3)) as ahead:
        assert made == []
        for used in range(5):
            assert next(ahead) == used
            deadline = time.monotonic() + 10
            while len(made) < used + 4 and time.monotonic() < deadline:
                time.sleep(0.001)
            time.sleep(0.01)
            assert made == list(range(used + 4))
    assert len(threads) == 1
    assert threading.current_thread() not in threads


def test_an_exception_comes_after_the_items_before_it():
    def items():
        yield from "ab"
        raise OSError("disk full")

    ahead = prefetch(items())
    assert [next(ahead), next(ahead)] == ["a", "b"]
    with pytest.raises(OSError, match="disk full"):
        next(ahead)
    assert not prefetch_threads()


def test_closing_early_ends_the_thread_and_makes_no_more_items():
    made = []
    ahead = prefetch(made.append(i) or i for i in range(1000))
    assert next(ahead) == 0
    ahead.close()
    assert not prefetch_threads()
    assert len(made) <= 4
    for _ in prefetch(iter(range(1000))):
        break  # as a training loop that is stopped
    assert not prefetch_threads()


def test_depth_is_checked():
    with pytest.raises(ValueError, match="depth must be at least 1, got 0"):
        next(prefetch([1], depth=0))

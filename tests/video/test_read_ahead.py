"""Reading ahead changes nothing but the time, and leaves nothing behind."""

import threading
import time

import pytest

from fourd_humans.video import read_ahead


def running():
    return [thread for thread in threading.enumerate() if thread.name == "read-ahead"]


@pytest.mark.parametrize("depth", [1, 3, 100])
def test_same_items_in_the_same_order(depth):
    assert list(read_ahead(range(50), depth)) == list(range(50))
    assert list(read_ahead([], depth)) == []
    assert not running()


def test_no_more_than_depth_are_made_ahead():
    made = []

    def items():
        for item in range(20):
            made.append(item)
            yield item

    ahead = read_ahead(items(), 3)
    assert next(ahead) == 0
    time.sleep(0.2)
    assert len(made) <= 1 + 3 + 1, "one taken, three waiting, one in hand"
    ahead.close()


def test_an_exception_comes_behind_the_items_before_it():
    def items():
        yield 1
        yield 2
        raise ValueError("broken")

    ahead = read_ahead(items(), 5)
    assert [next(ahead), next(ahead)] == [1, 2]
    with pytest.raises(ValueError, match="broken"):
        next(ahead)
    assert not running()


def test_closing_stops_the_thread_and_closes_what_is_read():
    closed = threading.Event()

    def endless():
        try:
            while True:
                yield 0
        finally:
            closed.set()

    ahead = read_ahead(endless(), 2)
    next(ahead)
    ahead.close()
    assert closed.is_set()
    assert not running()


def test_chains_stop_whole():
    def endless():
        while True:
            yield 0

    first = read_ahead(endless(), 1)
    second = read_ahead(map(str, first), 1)
    third = read_ahead((item for item in second), 1)
    assert next(third) == "0"
    for each in (third, second, first):
        each.close()
    assert not running()


def test_what_is_never_asked_for_starts_nothing():
    read_ahead(iter([1]), 1).close()
    assert not running()

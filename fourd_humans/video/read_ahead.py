"""Reading ahead of the work, in a thread of its own."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class _Item(Generic[T]):
    value: T


@dataclass(frozen=True)
class _End:
    error: BaseException | None = None


def read_ahead(items: Iterable[T], depth: int) -> Generator[T, None, None]:
    """The same items in the same order, at most `depth` of them made before they are asked for.

    The thread starts with the first item asked for. It ends, and `items` is closed if it is a generator, when this
    generator is exhausted or closed. An exception of `items` is raised here, behind the items that came before it.
    """
    ready: queue.Queue[_Item[T] | _End] = queue.Queue(depth)
    stopped = threading.Event()

    def work() -> None:
        try:
            for item in items:
                ready.put(_Item(item))
                if stopped.is_set():
                    break
            if isinstance(items, Generator):
                items.close()
            ready.put(_End())
        except BaseException as error:  # whatever it is, it belongs to whoever asked for the items
            ready.put(_End(error))

    thread = threading.Thread(target=work, name="read-ahead", daemon=True)
    thread.start()
    try:
        while isinstance(entry := ready.get(), _Item):
            yield entry.value
        if entry.error is not None:
            raise entry.error
    finally:
        stopped.set()
        while thread.is_alive():  # it may be waiting for room
            with suppress(queue.Empty):
                ready.get_nowait()
            thread.join(0.01)

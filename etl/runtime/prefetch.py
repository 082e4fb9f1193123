"""Prefetch: runs a producer on its own thread, a few items ahead of its consumer."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Final, Generic, TypeVar

_Item = TypeVar("_Item")

_DEPTH: Final = 6
"""Maximum number of items that the producer is ahead of a busy consumer."""


@dataclass(frozen=True)
class _Failed:
    error: BaseException


class _End:
    pass


class _Stopped(Exception):  # noqa: N818  # no error: the consumer has gone
    pass


def read_ahead(produce: Callable[[Callable[[_Item], None]], None], *, depth: int = _DEPTH) -> Iterator[_Item]:
    """Yields the items of a producer, which runs ahead on its own thread.

    An exception of the producer is raised here after the items before it. When the consumer stops, the producer stops
    at its next ``put``; it is not joined, since it may be waiting for a server.

    Args:
        produce: Called on the thread with a function ``put``, which takes an item and blocks while ``depth`` items are
            waiting.
        depth: Maximum number of waiting items.
    """
    channel: _Channel[_Item] = _Channel(depth)

    def work() -> None:
        try:
            produce(channel.put)
        except _Stopped:
            return
        except BaseException as error:  # noqa: BLE001  # raised in the consumer, which must not hang
            channel.end(_Failed(error))
        else:
            channel.end(_End())

    # A daemon thread: a read that waits for its timeout must not keep the process alive after Ctrl-C.
    threading.Thread(target=work, name="read-ahead", daemon=True).start()
    try:
        yield from channel.items()
    finally:
        channel.stop()


class _Channel(Generic[_Item]):
    """A bounded queue that either side can close."""

    def __init__(self, depth: int) -> None:
        self._queue: SimpleQueue[_Item | _Failed | _End] = SimpleQueue()
        self._slots = threading.Semaphore(depth)
        self._stopped = threading.Event()

    def put(self, item: _Item) -> None:
        self._slots.acquire()
        if self._stopped.is_set():
            # Released again: a producer that calls put during its cleanup must not wait forever.
            self._slots.release()
            raise _Stopped
        self._queue.put(item)

    def end(self, mark: _Failed | _End) -> None:
        self._queue.put(mark)

    def items(self) -> Iterator[_Item]:
        while True:
            item = self._queue.get()
            if isinstance(item, _End):
                return
            if isinstance(item, _Failed):
                raise item.error
            yield item
            del item
            self._slots.release()

    def stop(self) -> None:
        self._stopped.set()
        while True:
            try:
                self._queue.get_nowait()
            except Empty:
                break
        self._slots.release()

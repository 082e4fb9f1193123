"""Reading ahead: a producer on a thread of its own, a few items before its consumer."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Final, Generic, TypeVar

_Item = TypeVar("_Item")

_DEPTH: Final = 6
"""While a consumer is busy with something longer, the producer goes on with so many items."""


@dataclass(frozen=True)
class _Failed:
    error: BaseException


class _End:
    pass


class _Stopped(Exception):  # noqa: N818  # no error: the consumer has gone
    pass


def read_ahead(produce: Callable[[Callable[[_Item], None]], None], *, depth: int = _DEPTH) -> Iterator[_Item]:
    """Yields what a producer puts, while it goes on with the next.

    An error of the producer is raised here, after what it put before. When the consumer stops, so does the
    producer, at its next put; it is not waited for, since it may be waiting for a server.

    Args:
        produce: Called on the thread with a ``put`` that takes one item and blocks while ``depth`` are waiting.
        depth: How many items may wait.
    """
    channel: _Channel[_Item] = _Channel(depth)

    def work() -> None:
        try:
            produce(channel.put)
        except _Stopped:
            return
        except BaseException as error:  # noqa: BLE001  # handed over, whatever it is: the consumer must not hang
            channel.end(_Failed(error))
        else:
            channel.end(_End())

    # A daemon: a read that hangs until its timeout must not keep the process alive after Ctrl-C.
    threading.Thread(target=work, name="read-ahead", daemon=True).start()
    try:
        yield from channel.items()
    finally:
        channel.stop()


class _Channel(Generic[_Item]):
    """A queue with places, which either side can leave."""

    def __init__(self, depth: int) -> None:
        self._queue: SimpleQueue[_Item | _Failed | _End] = SimpleQueue()
        self._places = threading.Semaphore(depth)
        self._stopped = threading.Event()

    def put(self, item: _Item) -> None:
        self._places.acquire()
        if self._stopped.is_set():
            # The place is given back: one who puts again while tidying up must not wait for ever.
            self._places.release()
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
            self._places.release()

    def stop(self) -> None:
        self._stopped.set()
        while True:
            try:
                self._queue.get_nowait()
            except Empty:
                break
        self._places.release()

"""The events that wait to be decided, and who waits for their replies."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass

from pool.core.decide import Due
from pool.core.decisions import Reply
from pool.core.events import Event
from pool.listeners import Listener

BATCH = 512
"""Events decided before one commit at most."""


@dataclass(slots=True)
class Item:
    """An event on its way through the writer.

    Attributes:
        event: to be decided.
        done: given the reply once it is committed; None if nobody waits for it.
        listen: whether whoever asked goes on listening if the reply is that it waits.
        listener: that listens for him.
    """

    event: Event | Due
    done: asyncio.Future[Reply] | None = None
    listen: bool = False
    listener: Listener | None = None

    @property
    def awaited(self) -> bool:
        """Tell whether somebody waits for a reply that has not come."""
        return self.done is not None and not self.done.done()

    def answer(self, reply: Reply) -> None:
        """Give the reply to whoever waits for it."""
        if self.done is not None and not self.done.done():
            self.done.set_result(reply)

    def fail(self, error: BaseException) -> None:
        """Have the error raised where the reply is waited for."""
        if self.done is not None and not self.done.done():
            self.done.set_exception(error)


class Inbox:
    """What was told and asked, in its order, and the sleep of who decides it."""

    def __init__(self) -> None:
        self._items: deque[Item] = deque()
        self._wake = asyncio.Event()

    def __len__(self) -> int:
        return len(self._items)

    def put(self, item: Item) -> None:
        """Add an item, and wake who sleeps."""
        self._items.append(item)
        self._wake.set()

    def take(self) -> list[Item]:
        """Remove and return what came first, `BATCH` items at most."""
        return [self._items.popleft() for _ in range(min(BATCH, len(self._items)))]

    def fail(self, error: BaseException) -> None:
        """Remove everything, with this error for who waits."""
        for item in self._items:
            item.fail(error)
        self._items.clear()

    def wake(self) -> None:
        """Wake who sleeps."""
        self._wake.set()

    async def sleep(self, bound_s: float) -> None:
        """Return when something is here, when woken, or after so many seconds."""
        self._wake.clear()
        if self._items:
            return
        # Not `asyncio.timeout`: this is done once a commit, and to cancel the task costs more than to wake it.
        alarm = asyncio.get_running_loop().call_later(bound_s, self._wake.set)
        try:
            await self._wake.wait()
        finally:
            alarm.cancel()

"""Who waits for news of a waiter: many may, and each keeps the answer that comes while the news is on its way."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from pool.core.decisions import Granted, Rejected


@dataclass(slots=True, eq=False)
class Listener:
    """Somebody who waits for news of a waiter.

    Attributes:
        waiter_id: whose news.
        news: set once there is some.
        answer: the end of the wait, if that was the news.
    """

    waiter_id: str
    news: asyncio.Event = field(default_factory=asyncio.Event)
    answer: Granted | Rejected | None = None


class Listeners:
    """The listeners of all waiters."""

    def __init__(self) -> None:
        self._of: dict[str, list[Listener]] = {}

    def join(self, waiter_id: str) -> Listener:
        """Return somebody who listens from now on; see that it leaves."""
        made = Listener(waiter_id)
        self._of.setdefault(waiter_id, []).append(made)
        return made

    def leave(self, listener: Listener) -> None:
        """Forget a listener."""
        others = self._of[listener.waiter_id]
        others.remove(listener)
        if not others:
            del self._of[listener.waiter_id]

    def wake(self, waiter_id: str, answer: Granted | Rejected | None) -> None:
        """Tell who listens to a waiter that there is news; `answer` if its wait is over."""
        for listener in self._of.get(waiter_id, ()):
            if answer is not None:
                listener.answer = answer
            listener.news.set()

    def wake_all(self) -> None:
        """Have everybody look."""
        for waiter_id in self._of:
            self.wake(waiter_id, None)

"""How many idle clusters of one pool are wanted for what is expected, from when on and until when."""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass
from itertools import count

MOST = 256
"""So many things may be expected of a pool at once; of more, nothing is made ready."""

Who = tuple[str, ...]
"""For whom: a tenant and a group, or nobody in particular (the pool's own rhythm)."""

RHYTHM: Who = ()


@dataclass(slots=True)
class _Wish:
    clusters: int
    from_s: float
    until_s: float
    ready_s: float
    open: bool = False
    gone: bool = False


class Expected:
    """What is expected of one pool. Everything costs the logarithm of how much there is, amortised.

    Attributes:
        wishes: for reading: all that is wanted, now or later. Empty for most pools, which every decision asks.
    """

    def __init__(self) -> None:
        self.wishes: dict[tuple[Who, int], _Wish] = {}
        self._changes: list[tuple[float, int, tuple[Who, int], _Wish]] = []
        self._order = count()
        self._open = 0
        self._lapsed = 0

    def want(self, who: Who, rank: int, clusters: int, from_s: float, until_s: float, ready_s: float) -> None:
        """Want so many idle clusters from a time until a time, in place of what was wanted under this rank before.

        Args:
            who: for whom.
            rank: by which it is told from what else is wanted for them.
            clusters: how many.
            from_s: when they are begun to be started, if they are not there.
            until_s: when they are wanted no more.
            ready_s: when they will be ready.
        """
        self.drop(who, rank)
        if len(self.wishes) >= MOST:
            return
        wish = self.wishes[who, rank] = _Wish(clusters, from_s, until_s, ready_s)
        for at in (from_s, until_s):
            heapq.heappush(self._changes, (at, next(self._order), (who, rank), wish))
        if len(self._changes) > 4 * MOST:
            self._changes = [change for change in self._changes if not change[-1].gone]
            heapq.heapify(self._changes)

    def drop(self, who: Who, rank: int) -> float:
        """Want nothing under this rank any more; return when what was wanted was to be ready, infinity if nothing."""
        wish = self.wishes.pop((who, rank), None)
        if wish is None:
            return math.inf
        self._end(wish)
        return wish.ready_s

    def wanted(self, now: float) -> int:
        """Return how many are wanted now."""
        while self._changes and (self._changes[0][0] <= now or self._changes[0][-1].gone):
            _, _, key, wish = heapq.heappop(self._changes)
            if wish.gone:
                continue
            if now >= wish.until_s:
                del self.wishes[key]
                self._lapsed += wish.clusters if self._end(wish) else 0
            elif not wish.open:
                wish.open = True
                self._open += wish.clusters
        return self._open

    def lapsed(self, now: float) -> int:
        """Return how many more were wanted in vain since this was asked last: their time is over."""
        self.wanted(now)
        lapsed, self._lapsed = self._lapsed, 0
        return lapsed

    def until(self, who: Who, rank: int, until_s: float) -> None:
        """Want what is wanted under this rank until an earlier time."""
        wish = self.wishes.get((who, rank))
        if wish is not None and until_s < wish.until_s:
            wish.until_s = until_s
            heapq.heappush(self._changes, (until_s, next(self._order), (who, rank), wish))

    def has_rhythm(self) -> bool:
        """Tell whether something is wanted for nobody in particular, now or later."""
        return (RHYTHM, 0) in self.wishes

    def for_rhythm(self) -> int:
        """Return how many of those wanted now are wanted for nobody in particular."""
        wish = self.wishes.get((RHYTHM, 0))
        return wish.clusters if wish is not None and wish.open else 0

    def next_change(self) -> float:
        """Return when another number may be wanted, infinity for never."""
        return self._changes[0][0] if self._changes else math.inf

    def _end(self, wish: _Wish) -> bool:
        wish.gone = True
        if wish.open:
            self._open -= wish.clusters
        return wish.open

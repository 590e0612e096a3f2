"""What was seen of the gaps between leases: how long it is from a release until somebody could use its cluster again.

Of one pool the idle clusters are interchangeable, so each arrival is paired with the latest release that has none yet
(a stack). Which clusters were kept does not change who comes when: a gap is learned whether its cluster was there or
not. What is known of a gap while it lasts is its *situation*, which changes when its release is buried under a later
one and when it is on top again. Each situation is one *episode*, learned once somebody came, or another situation
followed, or after `LONGEST_S`.

Estimates: they live in memory, are bounded, and are not undone with a decision. `pool.core.snapshot` makes rows of them
that a restart takes over.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import deque
from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple

from pool.core.aims import Aim

LONGEST_S = 21_600.0
"""An episode that lasted so long is learned as one in which nobody came."""

TIMES_S: tuple[float, ...] = (0.0, *(2.0 * 10_800.0 ** (n / 15) for n in range(16)))
"""The idle times that are told apart: none, and from 2 s to `LONGEST_S`, each 1.86 times the one before."""

BINS = len(TIMES_S) + 1
"""What ended by each of these times and not by the one before, and what lasted longer than all."""

DEEPEST = 256
"""The stack of a pool is no deeper: below it, releases are forgotten."""

OPEN = 20_000
"""So many episodes may be open at once, over all pools."""

ASKS = (1, 2, 4, 8)
"""What a situation knows of demand: how long ago its pool was asked for the last time, the second last time..."""

FORGOTTEN = 0.01
"""A class whose episodes all together count for less is forgotten."""

_NO_AIM = Aim()

EPOCH = 20
"""After so many half-lives weights are made small again."""


class Kind(StrEnum):
    """How a situation came about."""

    FRESH = "fresh"
    BURIED = "buried"
    UNCOVERED = "uncovered"


class Situation(NamedTuple):
    """What is known of a gap at a moment.

    Attributes:
        pool: digest.
        kind: its release just happened, was just buried under another, or is just on top again.
        asked_ago_s: for each of `ASKS`, since when the pool was asked for so often; infinity if it never was.
        start_s: how long a start of the pool takes typically, None if none was seen.
        aim: how far the pool is from its target, if it has one.
    """

    pool: str
    kind: Kind
    asked_ago_s: tuple[float, ...]
    start_s: float | None = None
    aim: Aim = Aim()


def epoch(now: float, half_life_s: float) -> float:
    """Return when the weights of now began to grow: curves of one half-life share it, so it is computed once."""
    return now - now % (EPOCH * half_life_s)


def weighed(now: float, half_life_s: float) -> tuple[float, float]:
    """Return the `epoch` of now, and the weight of an episode that ends now (`scale`)."""
    since = now - now % (EPOCH * half_life_s)
    return since, float(2.0 ** ((now - since) / half_life_s))


def scale(now: float, since: float, half_life_s: float) -> float:
    """Return the weight of an episode that ends now, in a curve whose weights grow since then."""
    return float(2.0 ** ((now - since) / half_life_s))


class Curve:
    """Weighted episodes of one class.

    Weights grow with time instead of shrinking the past: an episode of now outweighs one at `since` by `scale`.

    Attributes:
        as_of: what was known by then is in it; 0 for one that was not read from a snapshot.
        weight: of all.
        ended: for each of `BINS` the weight of the episodes that ended in it.
        led: for each what they led to: the expected cost of the situation that followed, 0 where somebody came, as a
            share of the break-even time.
    """

    __slots__ = ("as_of", "ended", "half_life_s", "led", "since", "weight")

    def __init__(self, since: float, half_life_s: float) -> None:
        self.half_life_s = half_life_s
        self.since = since
        self.as_of = 0.0
        self.weight = 0.0
        self.ended = [0.0] * BINS
        self.led = [0.0] * BINS

    @property
    def sums(self) -> list[float]:
        """Both, one after the other."""
        return self.ended + self.led

    @sums.setter
    def sums(self, sums: Sequence[float]) -> None:
        self.ended, self.led = list(sums[:BINS]), list(sums[BINS:])

    def scale(self, now: float) -> float:
        """Return the weight of an episode that ends now."""
        return scale(now, self.since, self.half_life_s)

    def add(self, bin_: int, weight: float, cost: float) -> None:
        """Learn an episode that ended in a bin, of this weight, and what it led to, of this weighted cost."""
        self.weight += weight
        self.ended[bin_] += weight
        if cost:
            self.led[bin_] += cost

    def rebase(self, since: float) -> None:
        """Have weights grow from `since` on."""
        shrinks = scale(self.since, since, self.half_life_s)
        self.weight *= shrinks
        self.ended = [value * shrinks for value in self.ended]
        self.led = [value * shrinks for value in self.led]
        self.since = since


Class = tuple[str | int, ...]
"""What a situation is like: such as the pool, and how long ago it was asked for."""


class Choice(NamedTuple):
    """What a policy chose in a situation.

    Attributes:
        classes: what the situation is like; what becomes of it is learned for each.
        keep_s: for how long to keep the cluster from now on, if nobody asks and its situation stays.
        cost: what is expected of that (idle time, and a start if it is stopped too early), as a share of the
            break-even time, from 0 to 1.
        ended: how many of the episodes of such situations ended within `keep_s`, as a share.
        seen: how many episodes of its pool and kind that rests on, old ones counting less.
    """

    classes: Sequence[Class]
    keep_s: float
    cost: float
    ended: float = 0.0
    seen: float = 0.0


class _Episode:
    """A situation that waits for its outcome."""

    __slots__ = ("at", "classes", "half_life_s", "learned")

    def __init__(self, at: float, classes: Sequence[Class], half_life_s: float) -> None:
        self.at = at
        self.classes = classes
        self.half_life_s = half_life_s
        self.learned = False


class Release:
    """A release that nobody has come for.

    Attributes:
        cluster: id of the cluster that was released.
        situation, chosen: the last one, and what was decided in it; None before the first.
        until: until when its cluster is kept by that.
    """

    __slots__ = ("chosen", "cluster", "episode", "situation", "until")

    def __init__(self, cluster: str) -> None:
        self.cluster = cluster
        self.situation: Situation | None = None
        self.chosen: Choice | None = None
        self.until = 0.0
        self.episode: _Episode | None = None


class Gaps:
    """The gaps of all pools.

    Attributes:
        unsaved, unsaved_asks: classes that learned, and pools that were asked for, since the last snapshot of them.
    """

    def __init__(self) -> None:
        self.curves: dict[Class, Curve] = {}
        self.unsaved: dict[Class, None] = {}
        self.unsaved_asks: dict[str, None] = {}
        self._stacks: dict[str, deque[Release]] = {}
        self._asked: dict[str, deque[float]] = {}
        self._of: dict[str, Release] = {}
        self._open: deque[_Episode] = deque()

    def of(self, cluster: str) -> Release | None:
        """Return the last release of a cluster, if nobody has come for it."""
        return self._of.get(cluster)

    def top(self, pool: str) -> Release | None:
        """Return the latest release of a pool that nobody has come for."""
        stack = self._stacks.get(pool)
        return stack[-1] if stack else None

    def released(self, pool: str, cluster: str) -> Release:
        """Note a release."""
        stack = self._stacks.setdefault(pool, deque())
        if len(stack) == DEEPEST:
            self._forget(stack.popleft())
        release = self._of[cluster] = Release(cluster)
        stack.append(release)
        return release

    def asked(self, pool: str, now: float) -> None:
        """Note that somebody asks: the gap of the latest release is over."""
        self._asked.setdefault(pool, deque(maxlen=ASKS[-1])).append(now)
        self.unsaved_asks[pool] = None
        stack = self._stacks.get(pool)
        if stack:
            release = stack.pop()
            if release.episode is not None:
                self._learn(release.episode, now, 0.0)
            self._forget(release)

    def asks_of(self, pool: str) -> list[float]:
        """Return when a pool was asked for lately, oldest first."""
        return list(self._asked.get(pool, ()))

    def recall_asks(self, pool: str, times: Sequence[float]) -> None:
        """Take over when a pool was asked for, oldest first."""
        self._asked[pool] = deque(times, maxlen=ASKS[-1])

    def forget_asks_from(self, pool: str, at: float) -> None:
        """Drop that a pool was asked for at a time or later: it is told anew."""
        asked = self._asked.get(pool)
        while asked and asked[-1] >= at:
            asked.pop()

    def forget(self, now: float) -> None:
        """Drop classes of which nothing that counts was seen for long."""
        gone = [class_ for class_, curve in self.curves.items() if curve.weight < FORGOTTEN * curve.scale(now)]
        for class_ in gone:
            del self.curves[class_]
            self.unsaved[class_] = None

    def situation(self, pool: str, kind: Kind, start_s: float | None, now: float, aim: Aim = _NO_AIM) -> Situation:
        """Return what is known of a release of a pool now."""
        asked = self._asked.get(pool, ())
        if len(asked) >= ASKS[-1]:
            ago = tuple([now - asked[-n] for n in ASKS])
        else:
            ago = tuple(now - asked[-n] if len(asked) >= n else math.inf for n in ASKS)
        return Situation(pool, kind, ago, start_s, aim)

    def is_settled(self, release: Release, now: float) -> bool:
        """Tell whether nothing is to be learned any more of the situation in which a release was until now."""
        episode = release.episode
        return episode is None or episode.learned or episode.at <= now - LONGEST_S

    def watch(self, release: Release, situation: Situation, chosen: Choice, half_life_s: float, now: float) -> None:
        """Begin a release's next situation, which tells what the one before led to."""
        while self._open and (self._open[0].at <= now - LONGEST_S or len(self._open) >= OPEN):
            first = self._open.popleft()
            if first.at <= now - LONGEST_S:
                self._learn(first, first.at + 2 * LONGEST_S, 0.0)
        if release.episode is not None:
            self._learn(release.episode, now, chosen.cost)
        release.situation, release.chosen = situation, chosen
        release.until = now + chosen.keep_s
        release.episode = _Episode(now, chosen.classes, half_life_s)
        self._open.append(release.episode)

    def _learn(self, episode: _Episode, ended_at: float, after: float) -> None:
        if episode.learned:
            return
        episode.learned = True
        bin_ = bisect_left(TIMES_S, ended_at - episode.at)
        # One that nobody ended is known as such since it became too long.
        known_at, half_life_s = min(ended_at, episode.at + LONGEST_S), episode.half_life_s
        since, weight = weighed(known_at, half_life_s)
        cost, curves, unsaved = weight * after, self.curves, self.unsaved
        for class_ in episode.classes:
            curve = curves.get(class_)
            if curve is None:
                curve = curves[class_] = Curve(since, half_life_s)
            elif curve.since != since or curve.half_life_s != half_life_s:
                self._renew(curve, known_at, half_life_s)
            if known_at > curve.as_of:
                # As `Curve.add`: each episode is added to half a dozen.
                curve.weight += weight
                curve.ended[bin_] += weight
                if cost:
                    curve.led[bin_] += cost
                unsaved[class_] = None

    def _renew(self, curve: Curve, now: float, half_life_s: float) -> None:
        """Have a curve of an earlier epoch, or of another half-life, weigh as those do that are learned now."""
        curve.rebase(now)
        curve.half_life_s = half_life_s
        curve.rebase(epoch(now, half_life_s))

    def _forget(self, release: Release) -> None:
        if self._of.get(release.cluster) is release:
            del self._of[release.cluster]

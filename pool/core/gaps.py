"""What was seen of the gaps between leases: how long it is from a release until somebody could use its cluster again.

Of one pool the idle clusters are interchangeable, so each arrival is paired with the latest release that has none yet
(a stack). Which clusters were kept does not change who comes when: a gap is learned whether its cluster was there or
not. What is known of a gap while it lasts is its *situation*, which changes when its release is buried under a later
one and when it is on top again. Each of these moments is one observation, learned once somebody came, or after
`LONGEST_S`.

Estimates: they live in memory, are bounded, and are not undone with a decision. A restart makes them anew from the
leases that ended last.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Hashable, Sequence
from enum import StrEnum
from typing import NamedTuple

LONGEST_S = 21_600.0
"""A gap that lasted so long is learned as one in which nobody came."""

TIMES_S: tuple[float, ...] = (0.0, *(2.0 * 10_800.0 ** (n / 23) for n in range(24)))
"""The idle times that are told apart: none, and from 2 s to `LONGEST_S`, each 1.5 times the one before."""

DEEPEST = 256
"""The stack of a pool is no deeper: below it, releases are forgotten."""

OPEN = 20_000
"""So many observations may be open at once, over all pools."""

ASKED_KEPT = 64
HEAVY = 2.0**40


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
        busy: clusters of the pool that were leased as it was released, its own among them.
        asked_1h, asked_6h: leases of the pool asked for in the last hour, and in the last six (64 at most).
    """

    pool: str
    kind: Kind
    busy: int
    asked_1h: int
    asked_6h: int


class Curve:
    """Weighted gaps of one class: what each idle time of `TIMES_S` would have kept and missed.

    Weights grow with time instead of shrinking the past: `scale` is by how much one of now outweighs one at `since`.

    Attributes:
        weight: of all gaps.
        kept: sums of ``min(gap, time)``.
        missed: sums of the weights of gaps longer than the time.
    """

    __slots__ = ("half_life_s", "kept", "missed", "since", "weight")

    def __init__(self, now: float, half_life_s: float) -> None:
        self.half_life_s = half_life_s
        self.since = now
        self.weight = 0.0
        self.kept = [0.0] * len(TIMES_S)
        self.missed = [0.0] * len(TIMES_S)

    def scale(self, now: float) -> float:
        """Return the weight of a gap that ends now."""
        return float(2.0 ** ((now - self.since) / self.half_life_s))

    def add(self, gap_s: float, now: float) -> None:
        """Learn one gap."""
        weight = self.scale(now)
        if weight > HEAVY:
            self.weight /= weight
            self.kept = [value / weight for value in self.kept]
            self.missed = [value / weight for value in self.missed]
            self.since, weight = now, 1.0
        self.weight += weight
        longer = bisect_left(TIMES_S, gap_s)
        gap_s *= weight
        kept, missed = self.kept, self.missed
        self.kept = [was + weight * time_s for was, time_s in zip(kept[:longer], TIMES_S, strict=False)]
        self.kept += [was + gap_s for was in kept[longer:]]
        missed[:longer] = [was + weight for was in missed[:longer]]


Class = Hashable
Chains = Sequence[Sequence[Class]]
"""Classes of a situation, from the widest to the narrowest, in one order or several."""


class _Moment:
    """A situation that waits for its outcome."""

    __slots__ = ("at", "classes", "half_life_s", "learned")

    def __init__(self, at: float, classes: frozenset[Class], half_life_s: float) -> None:
        self.at = at
        self.classes = classes
        self.half_life_s = half_life_s
        self.learned = False


class Release:
    """A release that nobody has come for.

    Attributes:
        cluster: id of the cluster that was released.
        busy: clusters that were leased then, its own among them.
        until: until when its cluster is kept, as was decided in its last situation.
    """

    __slots__ = ("busy", "cluster", "moments", "until")

    def __init__(self, cluster: str, busy: int) -> None:
        self.cluster = cluster
        self.busy = busy
        self.until = 0.0
        self.moments: list[_Moment] = []


class Gaps:
    """The gaps of all pools."""

    def __init__(self) -> None:
        self.curves: dict[Class, Curve] = {}
        self._stacks: dict[str, deque[Release]] = {}
        self._asked: dict[str, deque[float]] = {}
        self._of: dict[str, Release] = {}
        self._open: deque[_Moment] = deque()

    def of(self, cluster: str) -> Release | None:
        """Return the last release of a cluster, if nobody has come for it."""
        return self._of.get(cluster)

    def top(self, pool: str) -> Release | None:
        """Return the latest release of a pool that nobody has come for."""
        stack = self._stacks.get(pool)
        return stack[-1] if stack else None

    def released(self, pool: str, cluster: str, busy: int) -> Release:
        """Note a release."""
        stack = self._stacks.setdefault(pool, deque())
        if len(stack) == DEEPEST:
            self._forget(stack.popleft())
        release = self._of[cluster] = Release(cluster, busy)
        stack.append(release)
        return release

    def asked(self, pool: str, now: float) -> None:
        """Note that somebody asks: the gap of the latest release is over."""
        asked = self._asked.setdefault(pool, deque(maxlen=ASKED_KEPT))
        asked.append(now)
        stack = self._stacks.get(pool)
        if stack:
            release = stack.pop()
            for moment in release.moments:
                self._learn(moment, now - moment.at, now)
            self._forget(release)

    def situation(self, pool: str, release: Release, kind: Kind, now: float) -> Situation:
        """Return what is known of a release now."""
        asked = self._asked.get(pool, ())
        in_6h = [at for at in asked if at > now - 21_600.0]
        return Situation(pool, kind, release.busy, sum(at > now - 3_600.0 for at in in_6h), len(in_6h))

    def watch(self, release: Release, chains: Chains, half_life_s: float, now: float) -> None:
        """Learn from now on what becomes of a release, for the classes of its situation."""
        while self._open and (self._open[0].at <= now - LONGEST_S or len(self._open) >= OPEN):
            first = self._open.popleft()
            if first.at <= now - LONGEST_S:
                self._learn(first, 2 * LONGEST_S, first.at + LONGEST_S)
        moment = _Moment(now, frozenset(class_ for chain in chains for class_ in chain), half_life_s)
        release.moments.append(moment)
        self._open.append(moment)

    def _learn(self, moment: _Moment, gap_s: float, now: float) -> None:
        if moment.learned:
            return
        moment.learned = True
        for class_ in moment.classes:
            curve = self.curves.get(class_)
            if curve is None:
                curve = self.curves[class_] = Curve(now, moment.half_life_s)
            curve.add(gap_s, now)

    def _forget(self, release: Release) -> None:
        if self._of.get(release.cluster) is release:
            del self._of[release.cluster]

"""A candidate policy beside the live one, on live demand: what it would have done, none of it acted on.

It is the core with other settings, told of the same leases as they are granted and as they end. Its clusters exist in
memory alone: they start, are reset and stop in no time, and no ceiling binds them. So it says what a policy keeps and
what it lets go, and not how starts and ceilings change what is asked. What a start takes, it knows from the live side.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from pool.core.decide import Due, decide, due_events
from pool.core.decisions import Answer, Decision, Granted, Grow, Reset, Shrink, Start, Stop
from pool.core.events import Acquire, Event, Reconfigure, Release, ResetDone, Revoke, Shrunk, Started, Stopped
from pool.core.key import ClusterKey
from pool.core.load import SUPPOSED_START_S
from pool.core.model import IDLE, SHRINKING, WARM_HEAD, Cluster, Lease, LeaseState, Mode, Outcome
from pool.core.reasons import Reason
from pool.core.recover import restore
from pool.core.settings import NO_CEILING, PoolSettings, Rules
from pool.core.state import State
from pool.replay.run import FOREVER_S, undisturbed
from pool.wire.records import ShadowAnswer, ShadowDifference, ShadowItem

SHOWN = 200
"""So many pools are told of, those in which most differs."""

REMEMBERED = 100
"""So many grants are remembered of which the two differ, the latest."""

_GIVEN_BACK = (Reason.RELEASED, Reason.CANCELLED, Reason.UNDELIVERED)
_UNUSED = (IDLE, SHRINKING, WARM_HEAD)


@dataclass(slots=True)
class Counted:
    """What was counted of one pool, on both sides."""

    both: int = 0
    live_only: int = 0
    shadow_only: int = 0
    neither: int = 0
    live_idle_s: float = 0.0
    shadow_idle_s: float = 0.0
    live_starts: int = 0
    shadow_starts: int = 0

    @property
    def leases(self) -> int:
        """How many leases were granted."""
        return self.both + self.live_only + self.shadow_only + self.neither

    @property
    def differs_s(self) -> float:
        """By how many idle seconds the two differ."""
        return abs(self.live_idle_s - self.shadow_idle_s)

    def add(self, other: Counted) -> None:
        """Count what another pool has, too."""
        for name in self.__slots__:
            setattr(self, name, getattr(self, name) + getattr(other, name))


class Shadow:
    """Follows a daemon's decisions with another policy.

    Args:
        policy: its name, for who looks.
        rules: with the candidate's settings.
        live: the daemon's state.
        now: from when on it follows, in seconds since the epoch.
        granted: told of each lease: pool's name, whether it was a hit, and whether it would have been.
    """

    def __init__(
        self,
        policy: str,
        rules: Rules,
        live: Callable[[], State],
        now: float,
        granted: Callable[[str, bool, bool], None] = lambda pool, live, shadow: None,
    ) -> None:
        self.policy = policy
        self._live = live
        self._since = now
        self._granted = granted
        self._epochs: dict[str, int] = {}
        self._counted: dict[str, Counted] = {}
        self._differences: deque[ShadowDifference] = deque(maxlen=REMEMBERED)
        self._rules = _free(rules)
        state = live()
        # It knows of the recent past what the live policy knows after a restart.
        self._state = restore(self._rules, now, pools=state.pools.values(), ended=list(state.ended.values()))

    def observe(self, decision: Decision) -> None:
        """Follow one committed decision of the daemon's."""
        now = decision.now
        self._catch_up(now)
        if isinstance(decision.event, Reconfigure):
            # A schedule window opened or closed.
            self._decide([Reconfigure(replace(self._rules, floors=decision.event.rules.floors))], now)
        for old, new, _ in decision.changes:
            if type(new) is Cluster:
                self._cluster(old if type(old) is Cluster else None, new, now)
            elif type(new) is Lease:
                if old is None:
                    self._ask(new, now)
                elif new.state is LeaseState.ENDED and new.id in self._epochs:
                    self._end(new, now)

    def told(self, now: float) -> ShadowAnswer:
        """Return what the two sides came to until now."""
        self._catch_up(now)
        live, found = self._live(), {digest: replace(counted) for digest, counted in self._counted.items()}
        for cluster in live.clusters.values():
            if cluster.state in _UNUSED:
                self._of(found, cluster.pool).live_idle_s += self._lasted(cluster, now)
        for cluster in self._state.clusters.values():
            if cluster.state in _UNUSED:
                self._of(found, cluster.pool).shadow_idle_s += self._lasted(cluster, now)
        total = Counted()
        for counted in found.values():
            total.add(counted)
        most = sorted(found, key=lambda digest: (-found[digest].differs_s, digest))[:SHOWN]
        return ShadowAnswer(
            policy=self.policy,
            since=self._since,
            items=[self._item(live, digest, found[digest]) for digest in most],
            total=self._item(live, "", total),
            differences=list(self._differences)[::-1],
        )

    def _item(self, live: State, digest: str, counted: Counted) -> ShadowItem:
        pool = live.pools.get(digest)
        return ShadowItem(
            pool=digest,
            pool_name=pool.name if pool is not None else "",
            tenant=pool.key.tenant if pool is not None else "",
            leases=counted.leases,
            **{name: getattr(counted, name) for name in Counted.__slots__},
        )

    # --- the live side ---------------------------------------------------------------------------------------------

    def _cluster(self, old: Cluster | None, new: Cluster, now: float) -> None:
        if old is None:
            self._of(self._counted, new.pool).live_starts += 1
        elif old.state is not new.state and old.state in _UNUSED:
            self._of(self._counted, new.pool).live_idle_s += self._lasted(old, now)

    def _lasted(self, cluster: Cluster, now: float) -> float:
        return max(0.0, now - max(cluster.changed_at, self._since))

    def _of(self, counted: dict[str, Counted], digest: str) -> Counted:
        return counted.setdefault(digest, Counted())

    # --- the shadow's ----------------------------------------------------------------------------------------------

    def _ask(self, lease: Lease, now: float) -> None:
        key = self._live().pools[lease.pool].key
        ask = Acquire(
            lease.id, "shadow", lease.id, key, lease.holder, lease.group, Mode.WAIT_OR_CREATE, FOREVER_S, FOREVER_S,
            hold_s=lease.hold_s,
        )  # fmt: skip
        mine = next((found for found in self._decide([ask], now) if found.id == lease.id), None)
        if mine is None:
            return
        self._epochs[lease.id] = mine.epoch
        was, would = lease.outcome is Outcome.HIT, mine.outcome is Outcome.HIT
        counted = self._of(self._counted, lease.pool)
        counted.both += was and would
        counted.live_only += was and not would
        counted.shadow_only += would and not was
        counted.neither += not was and not would
        self._granted(self._live().pools[lease.pool].name, was, would)
        if was is not would:
            self._differences.append(
                ShadowDifference(at=now, lease=lease.id, pool=lease.pool, live=lease.outcome, shadow=mine.outcome)
            )

    def _start_s(self, digest: str) -> float:
        """Return what a start takes as the live side sees it: the candidate is to weigh idle time against that."""
        index = self._live().index.get(digest)
        seen_s = index.weighed_s if index is not None else None
        return SUPPOSED_START_S if seen_s is None else seen_s

    def _end(self, lease: Lease, now: float) -> None:
        epoch = self._epochs.pop(lease.id)
        given_back = lease.end_reason in _GIVEN_BACK
        self._decide([Release(lease.id, epoch, lease.hold_s) if given_back else Revoke(lease.id)], now)

    def _catch_up(self, now: float) -> None:
        """Let happen what was due since, each at its time."""
        timers = self._state.timers
        while (at := timers.next_due()) <= now:
            self._decide(due_events(self._state, at), at)

    def _decide(self, events: Iterable[Event | Due], now: float) -> list[Lease]:
        """Decide, let clusters do at once what they are told, and return the leases that were granted."""
        granted: list[Lease] = []
        coming = deque(events)
        while coming:
            decision = decide(self._state, coming.popleft(), now)
            if isinstance(decision.reply, Granted):
                granted.append(decision.reply.lease)
            for old, new, _ in decision.changes:
                if type(new) is Cluster:
                    if type(old) is not Cluster:
                        self._of(self._counted, new.pool).shadow_starts += 1
                    elif old.state is not new.state and old.state in _UNUSED:
                        self._of(self._counted, new.pool).shadow_idle_s += self._lasted(old, now)
            for effect in decision.effects:
                if isinstance(effect, Answer):
                    if isinstance(effect.reply, Granted) and effect.reply is not decision.reply:
                        granted.append(effect.reply.lease)
                elif isinstance(effect, Start | Grow):
                    id_ = effect.cluster.id
                    took_s = self._start_s(effect.cluster.pool)
                    coming.append(Started(id_, f"boot-{id_}", f"{id_}.invalid:6379", took_s=took_s))
                elif isinstance(effect, Reset):
                    coming.append(ResetDone(effect.cluster.id, effect.epoch, True, full=effect.full))
                elif isinstance(effect, Shrink):
                    coming.append(Shrunk(effect.cluster.id))
                elif isinstance(effect, Stop):
                    coming.append(Stopped(effect.cluster_id))
        return granted


def _free(rules: Rules) -> Rules:
    """Return rules under which whoever asks is granted a cluster at once."""
    quiet = undisturbed(rules.settings_for)

    def settings_for(key: ClusterKey) -> PoolSettings:
        return replace(
            quiet(key),
            ceiling=NO_CEILING,
            max_lease_s=0.0,
            max_wait_s=FOREVER_S,
            max_waiting=10**9,
            locality_wait_s=0.0,
            backoff_s=0.0,
            breaker_failures=10**9,
        )

    return Rules(settings_for, max_starting=10**9, floors=rules.floors)

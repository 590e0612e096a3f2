"""Ceilings, starts, growth and evictions: whether one more cluster may be started or grown, and what makes room for it.

A pool that needs one more cluster takes back the workers of a warm head if it has one, and else starts one. Both take
room and a slot for starts, and both are called off by the same backoff and breaker.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from pool.core import eviction, fairness, idling, standing
from pool.core.key import NOTHING, ClusterKey, Footprint, footprint_of
from pool.core.larger import by_choice, smaller_of
from pool.core.model import IDLE, QUARANTINED, STARTING, WARM_HEAD, Cluster, Pool
from pool.core.reasons import Reason
from pool.core.settings import NO_CEILING, Ceiling
from pool.core.state import State
from pool.core.timers import Kind
from pool.core.turn import Turn

LOOK_AGAIN_S = 1.0
"""A start that was put off because a release is expected sooner is thought over this often."""

EVICTION_SCAN = 1_000
"""How many idle clusters an eviction looks at, longest idle first."""

Blocked = tuple[Reason, str]


def over(ceiling: Ceiling, usage: Footprint, more: Footprint) -> str:
    """Return the arithmetic by which ``usage + more`` is over the ceiling, empty if it is not."""
    if ceiling is NO_CEILING:
        return ""
    total = usage + more
    if ceiling.clusters is not None and total.clusters > ceiling.clusters:
        return f"{usage.clusters} clusters and {more.clusters} more, of {ceiling.clusters}"
    if ceiling.milli_cpu is not None and total.milli_cpu > ceiling.milli_cpu:
        return f"{usage.milli_cpu / 1000:g} cpus and {more.milli_cpu / 1000:g} more, of {ceiling.milli_cpu / 1000:g}"
    if ceiling.memory_bytes is not None and total.memory_bytes > ceiling.memory_bytes:
        gib = 2**30
        return (
            f"{usage.memory_bytes / gib:.1f} GiB and {more.memory_bytes / gib:.1f} more, "
            f"of {ceiling.memory_bytes / gib:.1f}"
        )
    if ceiling.gpu is not None and total.gpu > ceiling.gpu:
        return f"{usage.gpu} GPUs and {more.gpu} more, of {ceiling.gpu}"
    return ""


def no_room(state: State, more: Footprint, now: float) -> str:
    """Return why the backend is believed to have no room for `more`, empty if it may have."""
    tried = state.no_room_for
    if tried is None or now >= state.no_room_until or not as_large(state.usage + more, tried):
        return ""
    return (
        f"The backend had no room for {tried.milli_cpu / 1000:g} cpus and {tried.memory_bytes / 2**30:.1f} GiB; "
        f"as much is tried again in {state.no_room_until - now:.0f} s, or when something was stopped."
    )


def as_large(one: Footprint, other: Footprint) -> bool:
    """Tell whether `one` takes at least as much of everything as `other`."""
    return one.milli_cpu >= other.milli_cpu and one.memory_bytes >= other.memory_bytes and one.gpu >= other.gpu


def pool_ceiling(state: State, pool: Pool) -> Ceiling:
    """Return a pool's ceiling, an operator's resize considered."""
    ceiling = state.settings(pool.digest).ceiling
    if pool.max_clusters is None:
        return ceiling
    return Ceiling(pool.max_clusters, ceiling.milli_cpu, ceiling.memory_bytes, ceiling.gpu)


def never_fits(state: State, key: ClusterKey) -> str:
    """Return why not even a single cluster of this key is within the ceilings, empty if it is."""
    one = key.footprint
    pool = state.pools.get(key.digest)
    own = pool_ceiling(state, pool) if pool else state.rules.settings_for(key).ceiling
    tenant = state.rules.tenant_ceiling(key.tenant)
    for whose, ceiling in (("the pool", own), ("tenant", tenant), ("the daemon", state.rules.daemon)):
        if text := over(ceiling, NOTHING, one):
            who = f"tenant {key.tenant}" if whose == "tenant" else whose
            return f"One cluster of this shape is over the ceiling of {who}: {text}."
    return ""


def warm_head(state: State, pool: Pool) -> Cluster | None:
    """Return the warm head of the pool that is grown next, None if there is none.

    That of the first waiter's group, since its head holds what the group left there; else the one that has been without
    workers for the shortest time, as idle clusters are granted by default.
    """
    index = state.index[pool.digest]
    if not index.shrunk:
        return None
    if index.queue:
        own = index.shrunk_by_group.get(state.waiters[index.queue[0][-1]].group)
        if own:
            return state.clusters[next(reversed(own))]
    return state.clusters[next(reversed(index.shrunk))]


def start_blocked(state: State, pool: Pool, now: float) -> Blocked | None:
    """Return why no cluster of the pool may be started (or grown, if it has a warm head) now, None if one may."""
    settings = state.settings(pool.digest)
    index = state.index[pool.digest]
    more = _more(pool, warm_head(state, pool))
    if pool.failures >= settings.breaker_failures:
        # Half-open once its time is over: one start tries, the others wait for what comes of it.
        if now < pool.breaker_until or index.starting:
            left_s = max(0.0, pool.breaker_until - now)
            return Reason.BREAKER_OPEN, (
                f"{pool.failures} starts failed in a row; the next try comes in {left_s:.0f} s. {pool.last_error}"
            )
    elif now < pool.retry_at:
        return Reason.START_BACKOFF, f"The next try comes in {pool.retry_at - now:.0f} s. {pool.last_error}"
    if settings.standing is not None and standing.missing(state, pool) <= 0:
        return Reason.POOL_CEILING, f"The configuration names {settings.standing.clusters} such clusters, not more."
    if text := over(pool_ceiling(state, pool), index.usage, more):
        return Reason.POOL_CEILING, f"The pool is at its ceiling: {text}."
    if state.starting >= state.rules.max_starting:
        return Reason.MAX_STARTING, f"{state.starting} clusters are starting, of {state.rules.max_starting} at once."
    tenant = pool.key.tenant
    usage = state.tenant_usage.get(tenant, NOTHING)
    if text := over(state.rules.tenant_ceiling(tenant), usage, more):
        return Reason.TENANT_CEILING, f"Tenant {tenant} is at its ceiling: {text}."
    if text := over(state.rules.daemon, state.usage, more):
        return Reason.DAEMON_CEILING, f"The daemon is at its ceiling: {text}."
    if text := no_room(state, more, now):
        return Reason.NO_CAPACITY, text
    return None


def _more(pool: Pool, head: Cluster | None) -> Footprint:
    """Return what a start takes, or the growth of a warm head."""
    return pool.key.footprint if head is None else pool.key.footprint - head.footprint


def starts_needed(state: State, pool: Pool, now: float) -> tuple[int, int]:
    """Return how many starts waiters need now, and how many expected releases were counted instead.

    A waiter needs a start unless a cluster that is on its way to idle, or a lease expected to end before a new start
    would be ready, will serve it.
    """
    index = state.index[pool.digest]
    return _needed(state, pool, index.creators - index.local - index.coming, index.start_s.value_s, now)


def grows_needed(state: State, pool: Pool, now: float) -> tuple[int, int]:
    """Return how many warm heads waiters need with their workers now, and how many releases were counted instead.

    Also one that wants nothing started for it: a warm head is there already.
    """
    index = state.index[pool.digest]
    needed, promised = _needed(state, pool, index.takers - index.coming, index.grow_s.value_s, now)
    return min(needed, len(index.shrunk)), promised if index.shrunk else 0


def _needed(state: State, pool: Pool, wanting: int, takes_s: float | None, now: float) -> tuple[int, int]:
    """Return how many of the wanted clusters no release will give that comes within the time one takes."""
    if wanting <= 0:
        return 0, 0
    # Where no cluster is used twice, a release promises nothing.
    kept = state.settings(pool.digest).reclaim.keeps()
    promised = state.index[pool.digest].releases_within(now, takes_s) if kept and takes_s is not None else 0
    return max(0, wanting - promised), min(wanting, promised)


def give_way(turn: Turn, digest: str) -> None:
    """Before a pool's own waiters are served: make room of its free clusters for tenants that are too far behind."""
    state = turn.state
    index = state.index[digest]
    if not index.queue:
        return
    for rival in fairness.entitled(state, state.pools[digest]):
        if not index.wanted and all(fairness.prepaid(state.clusters[id_]) for id_ in index.free):
            return
        plan(turn, rival.digest)


def plan_in_turn(turn: Turn, digest: str) -> None:
    """Plan a pool, after those whose waiters have the room first that it would take."""
    state = turn.state
    if state.index[digest].queue:
        for rival in fairness.before(state, state.pools[digest]):
            plan(turn, rival.digest)
    plan(turn, digest)


def plan(turn: Turn, digest: str) -> None:
    """Grow or start what the pool's waiters and its sizing need, as far as the ceilings allow; evict for waiters."""
    state, now = turn.state, turn.now
    pool = state.pools[digest]
    if state.closing:
        return
    if pool.cordoned:
        # What it started could not be granted, and would be missed again at every look.
        state.blocked.pop(digest, None)
        index = state.index[digest]
        if index.reserve or index.counted_on:
            index.reserve = index.counted_on = 0
            _tell_smaller(turn, digest)
            _tell_rivals(turn, digest)
        return
    settings = state.settings(digest)
    if settings.standing is not None:
        for _ in range(standing.missing(state, pool)):
            if not _bring_one(turn, digest, Reason.STANDING):
                return
        state.blocked.pop(digest, None)
        return
    index = state.index[digest]
    if index.queue:
        for need in (grows_needed, starts_needed):
            needed, promised = need(state, pool, now)
            if promised:
                state.timers.arm(Kind.POOL, digest, now + LOOK_AGAIN_S)
            for _ in range(needed):
                if not _bring_one(turn, digest, Reason.MISS):
                    return
    if index.reserve == 0 and not index.counted_on and idling.wants_nothing(state, pool, settings, index):
        state.blocked.pop(digest, None)
        return
    before = index.reserve, index.counted_on
    wanted = idling.wanted(state, pool, now)
    if state.sizes.served:
        for other in idling.changed(state, pool):
            turn.touch(other)
    if index.reserve != before[0]:
        _tell_smaller(turn, digest)
    if index.counted_on != before[1]:
        _tell_rivals(turn, digest)
    if index.expected.wishes:
        state.timers.arm(Kind.POOL, digest, index.expected.next_change())
    if index.load is not None:
        idling.look_again(state, pool, now)
    if not wanted.target or _bring_spare(turn, pool, *wanted):
        state.blocked.pop(digest, None)


def _tell_smaller(turn: Turn, digest: str) -> None:
    """See to it that pools are looked at which count on what this one wants."""
    for smaller in smaller_of(turn.state, digest):
        turn.touch(smaller)


def _tell_rivals(turn: Turn, digest: str) -> None:
    """See to it that pools are looked at which may have counted on what this one counts on now: it comes first."""
    kin = by_choice(turn.state, digest)
    for other in kin[kin.index(digest) + 1 :]:
        if idling.counts_on_larger(turn.state, other):
            turn.touch(other)


def _bring_spare(turn: Turn, pool: Pool, target: int, missing: int) -> bool:
    """Start what is missing of so many idle clusters; tell whether nothing was in the way."""
    state, now, digest = turn.state, turn.now, pool.digest
    if missing > 0 and _room_is_waited_for(state, pool, now):
        # Its start would take the room, be evicted for the waiter, and begin again: for ever.
        state.blocked[digest] = None
        state.timers.arm(Kind.POOL, digest, now + LOOK_AGAIN_S)
        return False
    causes = idling.causes(state, pool, now, target) if missing > 0 else []
    return all(_bring_one(turn, digest, cause) for cause in causes[target - missing :])


def _room_is_waited_for(state: State, pool: Pool, now: float) -> bool:
    """Tell whether waiters of another pool would need what a start of this one takes: who is here comes first."""
    for digest in state.blocked:
        if digest == pool.digest or not state.index[digest].queue:
            continue
        other = state.pools[digest]
        blocked = start_blocked(state, other, now)
        reason = Reason.DAEMON_CEILING if blocked is None else blocked[0]
        if reason in (Reason.DAEMON_CEILING, Reason.NO_CAPACITY, Reason.MAX_STARTING):
            return True
        if reason is Reason.TENANT_CEILING and other.key.tenant == pool.key.tenant:
            return True
    return False


def bring(turn: Turn, pool: Pool, cause: Reason) -> Cluster:
    """Grow a warm head of the pool, or start one more cluster. The caller has checked that it is not blocked."""
    head = warm_head(turn.state, pool)
    return turn.start_cluster(pool, cause) if head is None else turn.grow_cluster(head)


def _bring_one(turn: Turn, digest: str, cause: Reason) -> bool:
    state = turn.state
    pool = state.pools[digest]
    blocked = start_blocked(state, pool, turn.now)
    if blocked is None:
        if bring(turn, pool, cause).state is STARTING and cause is Reason.MISS:
            fairness.charge(state, pool)
        return True
    reason = blocked[0]
    if reason is Reason.START_BACKOFF:
        state.timers.arm(Kind.POOL, digest, pool.retry_at)
    elif reason is Reason.BREAKER_OPEN:
        state.timers.arm(Kind.POOL, digest, max(pool.breaker_until, turn.now + LOOK_AGAIN_S))
    else:
        state.blocked[digest] = None
        if reason is Reason.NO_CAPACITY:
            state.timers.arm(Kind.POOL, digest, state.no_room_until)
        if cause is Reason.MISS and reason is not Reason.MAX_STARTING and not _yield_hold(turn, pool):
            _make_room(turn, pool, reason)
    return False


def _yield_hold(turn: Turn, pool: Pool) -> bool:
    """End the pool's longest hold if it has stood long enough; tell whether it did."""
    for id_ in islice(turn.state.index[pool.digest].held, EVICTION_SCAN):
        cluster = turn.state.clusters[id_]
        if not cluster.hold_until:
            # It rests, and is nobody's to yield: whoever waits has it reset.
            continue
        yields_at = cluster.changed_at + turn.settings(pool.digest).hold_yield_s
        if turn.now >= yields_at:
            turn.update(cluster, hold_until=0.0)
            turn.touch(pool.digest)
            return True
        turn.state.timers.arm(Kind.POOL, pool.digest, yields_at)
        return False
    return False


def _make_room(turn: Turn, pool: Pool, reason: Reason) -> None:
    """Stop the least valuable of what serves nobody, as much as one start or growth needs, or nothing if too little."""
    state = turn.state
    grown = warm_head(state, pool)
    more = _more(pool, grown)
    tenant = None if reason in (Reason.DAEMON_CEILING, Reason.NO_CAPACITY) else pool.key.tenant
    if reason is Reason.POOL_CEILING:
        ceiling, usage = pool_ceiling(state, pool), state.index[pool.digest].usage
    elif tenant is None:
        ceiling, usage = state.rules.daemon, state.usage
    else:
        ceiling, usage = state.rules.tenant_ceiling(tenant), state.tenant_usage.get(tenant, NOTHING)
    tried = state.no_room_for if reason is Reason.NO_CAPACITY else None

    def matters(cluster: Cluster) -> bool:
        return cluster.pool == pool.digest if reason is Reason.POOL_CEILING else tenant in (None, cluster.tenant)

    def too_much(used: Footprint) -> bool:
        return bool(over(ceiling, used, more)) or (tried is not None and as_large(used + more, tried))

    for going in (state.clusters[id_] for id_ in state.stopping):
        if matters(going):
            usage -= going.footprint
    for going in (state.clusters[id_] for id_ in state.shrinking):
        if matters(going):
            usage -= going.footprint - footprint_of(state.key_of(going).shape, {})
    victims: list[Cluster] = []
    for victim in _by_value(turn, pool, tenant, grown, ceiling):
        if not too_much(usage):
            break
        if matters(victim):
            victims.append(victim)
            usage -= victim.footprint
    if too_much(usage):
        return
    for victim in reversed(victims.copy()):
        # A large one may have made smaller ones needless.
        if not too_much(usage + victim.footprint):
            victims.remove(victim)
            usage += victim.footprint
    for victim in victims:
        if victim.state is IDLE:
            state.ages.evicted(eviction.value(state, victim, ceiling))
        idle = f"idle for {turn.now - victim.idle_since:.0f} s"
        why = victim.detail if victim.state is QUARANTINED else idle
        turn.stop_cluster(victim, Reason.EVICTED, f"{why}; its room goes to a waiter of {pool.digest}")


def _by_value(turn: Turn, pool: Pool, tenant: str | None, grown: Cluster | None, ceiling: Ceiling) -> Iterator[Cluster]:
    """Yield what may be evicted for one more cluster of a pool (that `grown` shall be, if given), least valuable first.

    What is kept for a look alone, then warm heads (also of the pool itself: all but one only stand beside the one that
    is grown), then idle clusters of other pools. Longest so first, or as the daemon's eviction policy says; those that
    hold a group's data after those that hold none, and those that a floor protects last: a waiter who is here is worth
    more than one who may come.
    """
    state, now = turn.state, turn.now
    for id_ in islice(state.quarantined, EVICTION_SCAN):
        if turn.settings(state.clusters[id_].pool).standing is None:
            yield state.clusters[id_]
    others: list[Cluster] = []
    with_data: list[Cluster] = []
    for id_ in islice(state.evictable_ids(tenant), EVICTION_SCAN):
        cluster = state.clusters[id_]
        if cluster.state is WARM_HEAD:
            if grown is None or cluster.id != grown.id:
                yield cluster
        elif cluster.pool != pool.digest:
            others.append(cluster)
    protected: list[Cluster] = []
    above: dict[str, int] = {}
    for cluster in eviction.in_order(state, others, ceiling):
        settings = state.settings(cluster.pool)
        if cluster.hold_until and now < (yields_at := cluster.changed_at + settings.hold_yield_s):
            state.timers.arm(Kind.POOL, pool.digest, yields_at)
            continue
        digest = cluster.pool
        if digest not in above:
            idle = state.index[digest].counts[IDLE]
            above[digest] = idle - idling.idle_target(state, state.pools[digest], now)
        if above[digest] > 0:
            above[digest] -= 1
            if cluster.resident:
                with_data.append(cluster)
            else:
                yield cluster
        else:
            protected.append(cluster)
    yield from with_data
    yield from protected

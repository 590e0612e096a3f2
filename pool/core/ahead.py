"""What is ahead of a pool: the next step of workflows, and its own rhythm. Both say when idle clusters are wanted.

What a workflow asks for next finds the reserve of the pool's sizing too, where there is one, and what it takes of it is
replaced: so only what the reserve may lack then is made ready for it.

They are wanted, not kept apart: of one pool all idle clusters are alike, so whoever comes first gets one, and another
is started in its place while it is still expected. A cluster made ready for a group that does not come is an ordinary
idle one from then on.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from pool.core.expected import RHYTHM
from pool.core.idling import reserve_of
from pool.core.load import SUPPOSED_START_S
from pool.core.policy import NO_RESERVE, Reserved
from pool.core.timers import Kind
from pool.core.workflows import TOGETHER_S, UNRANKED, Delay, Place, Run, Who

if TYPE_CHECKING:
    from pool.core.policy import Span
    from pool.core.state import State

FARTHEST = 4
"""So many steps are looked ahead at most: more than one, where steps are shorter than a start."""


def asked(state: State, digest: str, lease_id: str, group: str, now: float) -> bool:
    """Somebody asks for a cluster of a pool; tell whether that was foreseen.

    It was if a cluster was ready for it, or could have been: what is left to the reserve is no surprise either.
    """
    settings, foreseen = state.settings(digest), False
    if group and settings.look_ahead is not None:
        workflows, who = state.workflows, (state.pools[digest].key.tenant, group)
        run, begins = workflows.asked(who, digest, lease_id, now)
        if begins:
            # All that was wanted for this step is taken within a moment, or it was wanted in vain.
            _drop(state, who, [*run.due, *run.later])
            run.due, run.wanted, run.later = run.wanted, [], []
            for pool, rank in run.due:
                if rank != UNRANKED:
                    state.index[pool].expected.until(who, rank, now + TOGETHER_S)
                    state.timers.arm(Kind.POOL, pool, now + TOGETHER_S)
        taken = next((wanted for wanted in run.due if wanted[0] == digest), None)
        if taken is not None:
            run.due.remove(taken)
            in_time = now - run.foreseen_at >= _start_s(state, digest)
            foreseen = state.index[digest].expected.drop(who, taken[1]) <= now or in_time
        if not foreseen:
            run.surprised_at = now
        while (over := workflows.long_over(now)) is not None:
            group_over(state, over, now)
        _look(state, who, run, now)
    if settings.prewarm is not None and not foreseen:
        index = state.index[digest]
        foreseen = index.expected.drop(RHYTHM, 0) <= now
        index.uses.used(now)
        state.unsaved_uses[digest] = None
        look_at_rhythm(state, digest, now)
    if foreseen:
        state.foreseen.add(lease_id)
    return foreseen


def granted(state: State, tenant: str, group: str, now: float) -> None:
    """A group has a lease that it waited for: its step begins later."""
    run = state.workflows.granted((tenant, group), now) if group else None
    if run is not None:
        _look(state, (tenant, group), run, now)


def ended(state: State, lease_id: str, tenant: str, group: str, now: float) -> None:
    """A lease of a group ended, or it waits for one no more."""
    who = tenant, group
    had = state.workflows.runs[who].leases.get(lease_id) if who in state.workflows.runs else None
    run = state.workflows.ended(who, lease_id, now) if had is not None else None
    if run is not None:
        _look(state, who, run, now, back=had)


def group_over(state: State, who: Who, now: float) -> None:
    """A group asks for nothing any more."""
    run = state.workflows.over(who, now)
    if run is not None:
        _drop(state, who, [*run.due, *run.wanted, *run.later])


def look_at_rhythm(state: State, digest: str, now: float) -> None:
    """Have a cluster of a pool wanted at its next use, if that is worth it."""
    prewarm, index = state.settings(digest).prewarm, state.index[digest]
    if prewarm is None or not index.uses.last_at or now < index.uses.last_at:
        return
    uses, start_s = index.uses, index.start_s.value_s
    span = prewarm.span(uses.seen, uses.last_at, now, index.weighed_s)
    if span is not None and uses.last_at + span.until_s > now:
        from_s = max(now, uses.last_at + span.from_s - (start_s or 0.0))
        index.expected.want(RHYTHM, 0, 1, from_s, uses.last_at + span.until_s, from_s + (start_s or 0.0))
        state.timers.arm(Kind.POOL, digest, from_s)


def forget(state: State) -> None:
    """Want nothing any more that the settings no longer have looked ahead to: they may be others now."""
    for digest, index in state.index.items():
        settings = state.settings(digest)
        for who, rank in list(index.expected.wishes):
            if (settings.prewarm if who == RHYTHM else settings.look_ahead) is None:
                index.expected.drop(who, rank)


def look(state: State, who: Who, now: float) -> None:
    """Have wanted what a group is expected to ask for next."""
    run = state.workflows.runs.get(who)
    if run is not None:
        _look(state, who, run, now)


def _look(state: State, who: Who, run: Run, now: float, *, back: str | None = None) -> None:
    """Have wanted what a group is expected to ask for next; `back` is the pool of which it just gave a cluster back."""
    # What is ready, or begun, for the group is so still.
    ready = _drop(state, who, [*run.wanted, *run.later])
    if back is not None:
        # What was taken from the reserve is the reserve's until the start that replaces it is ready.
        ready[back].append(max(now, run.surprised_at + _start_s(state, back)))
    for times in ready.values():
        times.sort(reverse=True)
    run.wanted, run.later = [], []
    known = state.workflows.next_of(run)
    if known is None:
        return
    name, place = known
    since, delay = (run.paused_at, place.paused) if run.paused_at else (run.granted_at, place.taken)
    # What the group has comes back before it asks again, where it does so with nothing left.
    own = run.counts() if place.alone > 0.5 else {}
    chance, wanted = 1.0, run.wanted
    for _ in range(FARTHEST):
        if not delay.times:
            return
        _want(state, who, run, wanted, place, delay, since, own, chance, ready, now)
        step, likely = place.likeliest()
        following = state.workflows.known(step, name) if step else None
        if following is None or _in_time(state, following[1]):
            return
        name, place = following
        own = dict(step) if place.alone > 0.5 else {}
        chance, delay, wanted = chance * likely, delay.then(place.taken), run.later


def _want(
    state: State, who: Who, run: Run, wanted: list[tuple[str, int]], place: Place, delay: Delay, since: float,
    own: Mapping[str, int], chance: float, ready: Mapping[str, list[float]], now: float,
) -> None:  # fmt: skip
    """Want what one step is expected to ask for, beside what the group has."""
    for digest, likely in place.likely().items():
        if digest not in state.index or (policy := state.settings(digest).look_ahead) is None:
            continue
        index = state.index[digest]
        # A start is begun as long before as it takes by the clock, also where it is charged.
        start_s, weighed_s = index.start_s.value_s, index.weighed_s
        has = own.get(digest, 0) + (_held(state, digest, who[1]) if wanted is run.wanted else 0)
        reserve, before = reserve_of(state, digest, now), ready.get(digest)
        spans: dict[tuple[float, Reserved], Span | None] = {}
        for nth, each in enumerate(likely[has:], start=1):
            begun_s = before[-1] if before else math.inf
            reserved = reserve.finds(nth, begun_s - (start_s or 0.0) <= now) if reserve is not None else NO_RESERVE
            if (each, reserved) not in spans:
                spans[each, reserved] = policy.span(chance * each, delay, weighed_s, reserved)
            span = spans[each, reserved]
            if span is None or since + span.until_s <= now:
                if reserve is None:
                    break
                if span is None and wanted is run.wanted:
                    wanted.append((digest, UNRANKED))
                continue
            if before:
                before.pop()
            from_s = max(now, since + span.from_s - (start_s or 0.0))
            ready_s = min(begun_s, from_s + (start_s or 0.0))
            run.ranks += 1
            wanted.append((digest, run.ranks))
            index.expected.want(who, run.ranks, 1, from_s, since + span.until_s, ready_s)
            state.timers.arm(Kind.POOL, digest, from_s)


def _start_s(state: State, digest: str) -> float:
    """Return what a start takes by the clock."""
    start_s = state.index[digest].start_s.value_s
    return SUPPOSED_START_S if start_s is None else start_s


def _in_time(state: State, place: Place) -> bool:
    """Tell whether what follows a place can still be started when a group has come there."""
    starts = (state.index[digest].start_s.value_s for digest in place.pools() if digest in state.index)
    return place.taken.below(3.0) > max((start_s for start_s in starts if start_s is not None), default=0.0)


def _held(state: State, digest: str, group: str) -> int:
    """Return how many clusters of a pool are held for a group because a holder asked for it."""
    index = state.index[digest]
    ids = [*index.by_group.get(group, ()), *index.busy_by_group.get(group, ())]
    return sum(1 for id_ in ids if state.clusters[id_].hold_until and not state.clusters[id_].leases)


def _drop(state: State, who: Who, wanted: Sequence[tuple[str, int]]) -> defaultdict[str, list[float]]:
    """Want some things no more; return by pool when they were to be ready."""
    ready: defaultdict[str, list[float]] = defaultdict(list)
    for digest, rank in wanted:
        if digest in state.index:
            ready_s = state.index[digest].expected.drop(who, rank)
            if ready_s < math.inf:
                ready[digest].append(ready_s)
    return ready

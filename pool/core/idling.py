"""How many idle clusters a pool should have now, what for, and whether one of them may go.

Where a pool's sizing looks at demand and larger pools may serve it (`serve_larger`), they have their reserve in common:
what of it each one has, `pool.core.reserve` says.

Each cluster that a pool has to spare beyond its own part is counted on once. Who has the fewest other pools that would
do comes first, since who has more may find one elsewhere; then the largest, whose own start would take most. Each
counts on the smallest that will do.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple, cast

from pool.core.aims import of_sizing
from pool.core.index import PoolIndex
from pool.core.larger import Reserve, by_choice, in_common, larger_of, smaller_of
from pool.core.load import SUPPOSED_START_S
from pool.core.model import GROWING, IDLE, LEASED, RESETTING, STARTING, WARM_HEAD, Cluster, Pool
from pool.core.policy import Demand, Falling, Forecasting, Reserved
from pool.core.reasons import Reason
from pool.core.reserve import Member, share
from pool.core.settings import ROUGHLY, USUAL, PoolSettings
from pool.core.state import State
from pool.core.timers import Kind

FLOOR_LOOK_S, SLOWEST_LOOK_S = 60.0, 600.0
"""An idle cluster that a floor protects is looked at again this often: at first, and when it was idle for long."""

RESERVE_FOR_S = 600.0
"""What pools have of a reserve in common is reckoned anew this often, if nobody asks: it changes with the hour."""

RHYTHM_LOOK_S = 1_800.0
"""A pool whose sizing looks at demand is looked at this often: hours of the day differ."""


class Wanted(NamedTuple):
    """What is wanted of idle clusters in one pool.

    Attributes:
        target: how many, by the pool's sizing and for what is expected.
        missing: how many more than there are, will be before long, and larger pools can spare.
    """

    target: int
    missing: int


NOTHING = Wanted(0, 0)


def wanted(state: State, pool: Pool, now: float) -> Wanted:
    """Return what is wanted of a pool that is not cordoned; what its sizing wants is what smaller pools count on."""
    index = state.index[pool.digest]
    index.reserve = reserve = _sized(state, pool, now)
    target = reserve + _expected(index, now)
    index.counted_on = 0
    if not target:
        return NOTHING
    if larger_of(state, pool.digest) and _open(state, pool, now) > 0:
        index.counted_on = _shares(state, pool.digest, now)[0].get(pool.digest, 0)
    return Wanted(target, target - _stock(index) - index.counted_on)


def wants_nothing(state: State, pool: Pool, settings: PoolSettings, index: PoolIndex) -> bool:
    """Tell whether no idle cluster is wanted of a pool, and only another event could have one wanted."""
    return not (
        index.load is not None or index.expected.wishes or pool.min_idle or settings.sizing.wants()
        or (state.rules.floors and state.rules.floors.get(pool.name, 0))
    )  # fmt: skip


def idle_target(state: State, pool: Pool, now: float) -> int:
    """Return how many idle clusters are wanted now: by the pool's sizing, and for what is expected."""
    if pool.cordoned:
        return 0
    return _sized(state, pool, now) + _expected(state.index[pool.digest], now)


def counts_on_larger(state: State, digest: str) -> bool:
    """Tell whether a pool wants idle clusters for which those do that larger ones can spare."""
    index = state.index[digest]
    if index.reserve is None or index.expected.wishes:
        return True
    return index.reserve > 0 and state.settings(digest).sizing.half_life_s > 0


def _expected(index: PoolIndex, now: float) -> int:
    return index.expected.wanted(now) if index.expected.wishes else 0


def _stock(index: PoolIndex) -> int:
    """Return how many idle clusters there are, or will be before long, that nobody waits for."""
    return max(0, len(index.free) + len(index.resting) + index.coming - index.creators)


def _own_least(state: State, pool: Pool) -> int:
    """Return how many idle clusters must be the pool's own: what an operator set."""
    return max(state.rules.floors.get(pool.name, 0), pool.min_idle or 0)


def _sized(state: State, pool: Pool, now: float) -> int:
    """Return how many idle clusters of its own a pool's sizing wants."""
    if not state.sizes.served or not _shares_reserve(state, pool.digest):
        return _alone(state, pool, now)
    return _in_common(state, pool, now).counts.get(pool.digest, 0)


def _shares_reserve(state: State, digest: str) -> bool:
    """Tell whether a pool has its reserve in common with others, larger or smaller."""
    if not state.settings(digest).sizing.half_life_s:
        return False
    return bool(in_common(state, digest)) or any(in_common(state, one) for one in smaller_of(state, digest))


def changed(state: State, pool: Pool) -> Iterable[str]:
    """Return the other pools that have another part of the reserve in common than they go by, each once."""
    found = state.sizes.reserve_of(pool)
    if found is None or not found.news:
        return ()
    news = [one for one in found.news if one != pool.digest]
    found.news.clear()
    return news


def _in_common(state: State, pool: Pool, now: float) -> Reserve:
    """Return the reserve of a pool's kin, reckoned anew if somebody asked whom nobody foresaw, or it was long ago."""
    found = state.sizes.reserve_of(pool)
    if found is not None and 0.0 <= now - found.at < RESERVE_FOR_S:
        return found
    kin = [state.pools[one] for one in by_choice(state, pool.digest) if state.settings(one).sizing.half_life_s]
    pools = [one for one in kin if _counts(state, one) and not _forgotten(state, one, now)]
    places = {one.digest: place for place, one in enumerate(pools)}
    members = []
    for one in pools:
        settings, demand = state.settings(one.digest), _demand(state, one)
        prices = settings.prices
        footprint = one.key.footprint
        served = (places.get(other) for other in smaller_of(state, one.digest))
        larger = (places.get(other) for other in in_common(state, one.digest))
        members.append(
            Member(
                cast("Forecasting", settings.sizing).saving(demand, now),
                prices.idle(footprint) or ROUGHLY.idle(footprint) or 1.0,
                _own_least(state, one),
                (places[one.digest], *(place for place in served if place is not None)),
                tuple(place for place in larger if place is not None),
            )
        )
    counts = dict(zip(places, share(members), strict=True))
    went_by = {one.digest: state.index[one.digest].reserve for one in kin}
    news = {one: None for one, number in went_by.items() if number not in (None, counts.get(one, 0))}
    reserve = Reserve(now, counts, news)
    state.sizes.keep_reserve(pool, reserve)
    return reserve


def _reserve(state: State, digest: str, now: float) -> int:
    """Return how many idle clusters the sizing of a larger pool wanted at the last look."""
    pool, index = state.pools[digest], state.index[digest]
    if not _counts(state, pool):
        return 0
    if index.reserve is None:
        index.reserve = _sized(state, pool, now)
    return index.reserve


class InReserve(NamedTuple):
    """The reserve that those find who ask for a pool.

    Attributes:
        clusters: how many there are of it, of the pool's own and of larger ones.
        needed: how likely it is that at least 1, 2, ... of them are needed in the time of a start.
        price_s: what a miss costs by the price that it goes by, in idle seconds; None for no such price.
    """

    clusters: int
    needed: Falling
    price_s: float | None

    def finds(self, nth: int, begun: bool) -> Reserved:
        """Return what the n-th finds of those who ask at once, counted from 1: the others may come in the same time."""
        over = self.clusters - nth
        if over < 0:
            return Reserved(1.0, self.price_s, begun)
        return Reserved(self.needed[over] if over < len(self.needed) else 0.0, self.price_s, begun)


def reserve_of(state: State, digest: str, now: float) -> InReserve | None:
    """Return the reserve that those find who ask for a pool; None where its sizing does not look at demand."""
    index, settings = state.index[digest], state.settings(digest)
    if not settings.sizing.half_life_s or index.load is None:
        return None
    known = index.in_reserve
    if known is None or not 0.0 <= now - known[0] < RESERVE_FOR_S:
        pool, sizing = state.pools[digest], cast("Forecasting", settings.sizing)
        clusters = sum(_reserve(state, one, now) for one in (digest, *in_common(state, digest)))
        needed = index.load.exceeds(now, index.weighed_s or SUPPOSED_START_S)
        found = InReserve(clusters, needed, sizing.price_s(_demand(state, pool)))
        known = index.in_reserve = now, found
    return known[1]


def _counts(state: State, larger: Pool) -> bool:
    """Tell whether smaller pools count on a larger one: not on what is cordoned, nor on what somebody else runs."""
    return not larger.cordoned and state.settings(larger.digest).standing is None


def _open(state: State, pool: Pool, now: float) -> int:
    """Return how many idle clusters a pool is short of that may as well be larger ones; less than 0 if it has more.

    What an operator set must be its own, and so must what a sizing wants that does not look at demand.
    """
    index, reserve = state.index[pool.digest], _reserve(state, pool.digest, now)
    least = min(reserve, _own_least(state, pool)) if state.settings(pool.digest).sizing.half_life_s else reserve
    return reserve + _expected(index, now) - max(_stock(index), least)


def _shares(state: State, digest: str, now: float) -> tuple[dict[str, int], dict[str, int]]:
    """Return how many idle clusters of larger pools each pool of a kin counts on, and how many of each are counted on.

    Args:
        state: for looking at it.
        digest: of one of them.
        now: seconds since the epoch.
    """
    spare: dict[str, int] = {}
    counts: dict[str, int] = {}
    counted: dict[str, int] = {}
    for one in by_choice(state, digest):
        pool = state.pools[one]
        if not _counts(state, pool):
            continue
        short = _open(state, pool, now)
        if short < 0:
            spare[one] = -short
        elif short and spare:
            for larger in larger_of(state, one):
                if taken := min(short, spare.get(larger, 0)):
                    short -= taken
                    spare[larger] -= taken
                    counts[one] = counts.get(one, 0) + taken
                    counted[larger] = counted.get(larger, 0) + taken
    return counts, counted


def _alone(state: State, pool: Pool, now: float) -> int:
    """Return how many idle clusters the pool's sizing wants now, as if no larger pool had any."""
    settings = state.settings(pool.digest)
    floor = state.rules.floors.get(pool.name, 0)
    if not (floor or pool.min_idle or settings.sizing.wants()) or _forgotten(state, pool, now):
        return 0
    return settings.sizing.idle_target(_demand(state, pool), now)


def _demand(state: State, pool: Pool) -> Demand:
    """Return what sizing may look at."""
    index = state.index[pool.digest]
    counts = index.counts
    leased = counts[LEASED]
    for digest in in_common(state, pool.digest):
        leased += state.index[digest].counts[LEASED]
    demand = Demand(
        leased,
        counts[IDLE] + counts[RESETTING],
        counts[STARTING] + counts[GROWING],
        state.rules.floors.get(pool.name, 0),
        index.last_asked_at,
        pool.min_idle,
        counts[WARM_HEAD],
        index.creators,
        index.weighed_s,
        index.load,
    )
    settings = state.settings(pool.digest)
    # Not by `cast`, which is a call: every decision comes here.
    sizing: Any = settings.sizing
    if not sizing.half_life_s or not sizing.aims():
        return demand
    usual, own = settings.prices.idle(USUAL), settings.prices.idle(pool.key.footprint)
    return demand._replace(aim=state.aims.of(of_sizing(settings.name)), dear=own / usual if own and usual else 1.0)


def why(state: State, pool: Pool, now: float) -> str:
    """Return why the pool's sizing wants as many idle clusters as it does, in numbers; empty if it has none to tell."""
    if pool.cordoned or _forgotten(state, pool, now):
        return ""
    demand, sizing = _demand(state, pool), state.settings(pool.digest).sizing
    said = sizing.why(demand, now)
    if not said or not _shares_reserve(state, pool.digest):
        return said
    there = sum(_reserve(state, digest, now) for digest in in_common(state, pool.digest))
    more = _sized(state, pool, now) + there - sizing.idle_target(demand, now)
    return "; ".join(
        [
            said,
            *([f"larger pools have {there} of them"] if there else []),
            *([f"{more} more may serve smaller pools besides"] if more > 0 and not there else []),
        ]
    )


def _forgotten(state: State, pool: Pool, now: float) -> bool:
    """Tell whether nobody asked for so long that nothing stands ready any more.

    A sizing that looks at demand forgets by itself, as its price says: a pool that is asked for once in two days may
    be worth a cluster. It is asked until its demand counts half.
    """
    settings = state.settings(pool.digest)
    asked_at = max(state.index[pool.digest].last_asked_at, pool.created_at)
    return now - asked_at > max(settings.floor_for_s, settings.sizing.half_life_s) and not settings.pinned


def look_again(state: State, pool: Pool, now: float) -> None:
    """See to it that somebody sees before long whether more are wanted, though nothing happens.

    What is wanted by demand that was seen rises with the hour of the day.
    """
    due = now + RHYTHM_LOOK_S
    if state.timers.due(Kind.POOL, pool.digest) > due and not _forgotten(state, pool, now):
        state.timers.arm(Kind.POOL, pool.digest, due)


def floor_needs(state: State, cluster: Cluster, now: float) -> bool:
    """Tell whether the pool's floor, or that of a smaller pool, would be short of an idle cluster without this one.

    A floor is made of clusters that can be granted at once: a cordoned one, or one without workers, protects it no more
    than it is protected by it.
    """
    index = state.index[cluster.pool]
    if cluster.state is not IDLE or not cluster.grantable:
        return False
    ready, target = len(index.free) + len(index.resting), idle_target(state, state.pools[cluster.pool], now)
    if ready <= target:
        return True
    if not any(counts_on_larger(state, digest) for digest in smaller_of(state, cluster.pool)):
        return False
    return ready <= target + _shares(state, cluster.pool, now)[1].get(cluster.pool, 0)


def look_again_s(cluster: Cluster, now: float) -> float:
    """Return after how long to look again at an idle cluster that a floor protects."""
    return min(SLOWEST_LOOK_S, max(FLOOR_LOOK_S, (now - cluster.idle_since) / 4))


def causes(state: State, pool: Pool, now: float, target: int) -> list[Reason]:
    """Return for what each of so many idle clusters is wanted: what its sizing wants comes first."""
    index = state.index[pool.digest]
    expected = index.expected.wanted(now)
    rhythm = index.expected.for_rhythm()
    least = Reason.FLOOR if index.counts[LEASED] == 0 else Reason.BUFFER
    sized = target - expected
    number = min(sized, _own_least(state, pool)) if state.settings(pool.digest).sizing.half_life_s else sized
    wanted = [least] * number + [Reason.DEMAND] * (sized - number)
    return [*wanted, *[Reason.FORECAST] * rhythm, *[Reason.LOOK_AHEAD] * (expected - rhythm)]

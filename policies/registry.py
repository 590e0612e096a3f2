"""The policies by the names that the configuration uses.

A policy is a frozen dataclass: its fields are its options. The configuration offers each under its field's name, and
a field that ends in ``_s`` without that ending, as a duration. To add a policy, add its file and its line here.
"""

from __future__ import annotations

from collections.abc import Mapping

from policies.auto import Auto
from policies.eviction import GreedyDual, LongestIdle
from policies.grant_order import LatestToRetire, LeastRecentlyUsed, Locality, MostRecentlyUsed, SoonestToRetire
from policies.histogram import Histogram
from policies.learned import Learned
from policies.look_ahead import JustInTime
from policies.newsvendor import Newsvendor
from policies.next_use import NextUse
from policies.queue_order import EarliestDeadline, FairShare, PriorityWithAging
from policies.reactive import Reactive
from policies.reclaim import FixedTTL, NeverKeep, UntilEvicted
from policies.sizing import FloorAndBuffer
from policies.ski_rental import BreakEven, RandomisedSkiRental
from policies.square_root import SquareRoot
from pool.core.policy import Eviction, GrantOrder, LookAhead, Prewarm, QueueOrder, Reclaim, Sizing

GRANT_ORDERS: Mapping[str, type[GrantOrder]] = {
    "most_recently_used": MostRecentlyUsed,
    "least_recently_used": LeastRecentlyUsed,
    "soonest_to_retire": SoonestToRetire,
    "latest_to_retire": LatestToRetire,
    "locality": Locality,
}
QUEUE_ORDERS: Mapping[str, type[QueueOrder]] = {
    "priority_with_aging": PriorityWithAging,
    "fair_share": FairShare,
    "earliest_deadline": EarliestDeadline,
}
SIZINGS: Mapping[str, type[Sizing]] = {
    "floor_and_buffer": FloorAndBuffer,
    "reactive": Reactive,
    "newsvendor": Newsvendor,
    "square_root": SquareRoot,
}
PREWARMS: Mapping[str, type[Prewarm]] = {"next_use": NextUse}
LOOK_AHEADS: Mapping[str, type[LookAhead]] = {"just_in_time": JustInTime}
RECLAIMS: Mapping[str, type[Reclaim]] = {
    "fixed_ttl": FixedTTL,
    "never_keep": NeverKeep,
    "break_even": BreakEven,
    "randomised": RandomisedSkiRental,
    "histogram": Histogram,
    "until_evicted": UntilEvicted,
    "learned": Learned,
    "auto": Auto,
}
EVICTIONS: Mapping[str, type[Eviction]] = {"longest_idle": LongestIdle, "greedy_dual": GreedyDual}

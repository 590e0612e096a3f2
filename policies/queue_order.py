"""In which order waiters are served."""

from __future__ import annotations

from dataclasses import dataclass

from pool.core.policy import Share, Wish


@dataclass(frozen=True, slots=True)
class PriorityWithAging:
    """Higher priority first, but waiting counts: nothing starves. First come, first served among equals.

    A waiter's priority grows by one step for every `aging_s` waited:
    ``effective(now) = priority + (now - asked_at) / aging_s``. Two waiters grow at the same pace, so their order
    never changes and `now` drops out: serving the highest effective priority is serving the lowest
    ``rank = asked_at - priority * aging_s``. That is why a rank is computed once and the queue is a plain sorted
    list. (The linear aging of Unix schedulers; Kleinrock's time-dependent priorities with equal slopes.)
    """

    def rank(self, wish: Wish) -> float:
        """Return the rank: lower is served first."""
        return wish.asked_at - wish.priority * wish.aging_s

    def precedence(self, rank: float, share: Share) -> float:
        """Return the rank of the first waiter."""
        return rank

    def gives_way(self, own: Share, other: Share) -> bool:
        """Return False: what a pool has, its own waiters get."""
        return False

    def shares(self) -> bool:
        """Return False."""
        return False


@dataclass(frozen=True, slots=True)
class EarliestDeadline(PriorityWithAging):
    """Who must be served soonest first: ``rank = deadline - priority * aging_s``.

    The deadline is when a waiter gives up (its `timeout_s`, and `max_wait` at the latest). If every waiter can be
    served in time in any order, it is in this one (Jackson, *Scheduling a production line to minimize maximum
    tardiness*, 1955; Liu and Layland, JACM 20, 1973). A waiter whose deadline has passed is refused with `wait_timeout`
    and takes nothing from those who can still be served. A step of priority counts as a deadline that is `aging_s`
    earlier. Nothing starves: whoever comes later than a waiter's deadline has a later one.
    """

    def rank(self, wish: Wish) -> float:
        """Return the rank: lower is served first."""
        return wish.deadline - wish.priority * wish.aging_s


@dataclass(frozen=True, slots=True)
class FairShare(PriorityWithAging):
    """Where tenants want the same room, each gets a share by its `weight`; within a tenant, priority with aging.

    Start-time fair queueing (Goyal, Vin, Cheng, *Start-time fair queueing*, SIGCOMM 1996), with leases for packets. A
    lease begins at the virtual time ``S = max(v, F)`` and ends at ``F = S + seconds * size / weight``, where `F` is its
    tenant's last end, `v` the start of what is served, the seconds are those that are typical of its pool, and the size
    is the cluster's dominant share of the daemon's ceiling (Ghodsi et al., *Dominant resource fairness*, NSDI 2011).
    The lowest start is served first. So two tenants that always have somebody waiting get leases in proportion to their
    weights, to within one lease of each, and nothing starves: each lease of the others moves them back. What a tenant
    was given while nobody else waited is not held against it.

    A pool's cluster that came free goes to its own waiters, since a start costs time, unless another tenant is a whole
    lease behind: ``S_other + takes_other <= S_own``. Then it is stopped, and one is started for the other tenant.
    """

    def precedence(self, rank: float, share: Share) -> float:
        """Return the virtual time at which the tenant's next lease begins."""
        return share.begun

    def gives_way(self, own: Share, other: Share) -> bool:
        """Tell whether the other tenant would still not be ahead after one more lease."""
        return other.begun + other.takes <= own.begun

    def shares(self) -> bool:
        """Return True."""
        return True

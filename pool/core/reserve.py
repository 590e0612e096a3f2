"""The reserve that pools have in common: of which shape each idle cluster of it is.

A large cluster may also serve those who ask for less, and costs more. Each cluster of the reserve is needed less often
than the one before, so they are chosen one by one: the n-th is of the shape for which what it saves of all that it may
serve is the most over its price. Where hardly anybody asks for the large shape, or it is far dearer, those who ask for
less have their own; else one reserve does for all, since they seldom ask at the same time.

Source: the newsvendor with downward substitution (Bassok, Anupindi, Akella, *Single-period multiproduct inventory
models with substitution*, Operations Research 47, 1999). Where shapes are in a line, each larger than the one before,
and asks of different shapes come apart, what the n-th cluster saves has nothing to do with the others, and this is the
optimum.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from pool.core.policy import Saving

MOST = 256
"""A reserve has so many clusters beyond what operators set, at most."""


class Member(NamedTuple):
    """A pool that has its reserve in common with others.

    Attributes:
        saving: what each idle cluster saves that may serve it: its own and larger ones, of both pools' demand together.
        price: what its own clusters cost, in any one currency; more than 0.
        least: so many it has anyway.
        serves: which members its clusters may serve, itself among them, by their places in the sequence.
        larger: whose clusters may serve it besides.
    """

    saving: Saving
    price: float
    least: int
    serves: tuple[int, ...]
    larger: tuple[int, ...]


def share(members: Sequence[Member]) -> list[int]:
    """Return how many idle clusters each member has.

    Args:
        members: larger ones before those that they may serve; of equals the last one is preferred.
    """
    counts = [0] * len(members)
    owed = [member.least for member in members]
    for n in range(max(owed, default=0) * len(members) + MOST):
        saved = _saved(members, n)
        left = set(range(len(members)))
        for place, number in enumerate(owed):
            if number and place in left:
                owed[place] -= 1
                counts[place] += 1
                left.difference_update(members[place].serves)
        while left and (best := _best(members, saved, left)) is not None:
            counts[best] += 1
            left.difference_update(members[best].serves)
        if len(left) == len(members):
            break
    return counts


def _saved(members: Sequence[Member], n: int) -> list[float]:
    """Return what the n-th cluster (from 0) saves each member that those who ask for larger ones would not need."""
    likely = [member.saving.at(n) for member in members]
    saved = []
    for member, own in zip(members, likely, strict=True):
        alone = own - max((likely[larger] for larger in member.larger), default=0.0) if own else 0.0
        saved.append(alone * member.saving.times * member.price if alone > 0.0 else 0.0)
    return saved


def _best(members: Sequence[Member], saved: Sequence[float], left: set[int]) -> int | None:
    """Return which of those that are left should have one more cluster, None if it would cost more than it saves."""
    best, most = None, 0.0
    for place in left:
        member = members[place]
        over = -member.price
        for served in member.serves:
            if served in left:
                over += saved[served]
        if over > most or (over == most and best is not None and place > best):
            best, most = place, over
    return best

"""Which shapes the idle clusters have that pools keep in common."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pool.core.policy import Saving, surely
from pool.core.reserve import Member, share

MOST = 4


def line(
    likely: Sequence[Sequence[float]], prices: Sequence[float], times: float = 10.0, least: Sequence[int] | None = None
) -> list[Member]:
    """Return members of which each may serve all that come after it; `likely` is of their own asks alone."""
    together: list[list[float]] = []
    for own in likely:
        before = together[-1] if together else []
        both = [(own[n] if n < len(own) else 0.0) + (before[n] if n < len(before) else 0.0) for n in range(MOST)]
        together.append(both)
    everybody = range(len(likely))
    return [
        Member(
            Saving(together[place], times),
            prices[place],
            0 if least is None else least[place],
            tuple(one for one in everybody if one >= place),
            tuple(one for one in everybody if one < place),
        )
        for place in everybody
    ]


def cost(members: Sequence[Member], likely: Sequence[Sequence[float]], counts: Sequence[int]) -> float:
    """Return what so many cost, with what is missed: asks of one shape come apart from those of others."""
    missed = 0.0
    for place, member in enumerate(members):
        there = sum(counts[: place + 1])
        missed += sum(likely[place][there:]) * member.saving.times * member.price
    return missed + sum(member.price * number for member, number in zip(members, counts, strict=True))


FALLING = st.lists(st.floats(0.0, 0.3), min_size=MOST, max_size=MOST).map(lambda some: sorted(some, reverse=True))


@given(
    st.lists(FALLING, min_size=1, max_size=3),
    st.lists(st.floats(0.1, 5.0), min_size=3, max_size=3).map(lambda some: sorted(some, reverse=True)),
    st.floats(2.0, 50.0),
)
def test_of_shapes_in_a_line_nothing_costs_less(likely: list[list[float]], prices: list[float], times: float) -> None:
    members = line(likely, prices, times)
    # What a miss costs is the same for all: what is saved is told in each one's price.
    members = [one._replace(saving=one.saving._replace(times=times / one.price)) for one in members]
    found = share(members)
    least = min(cost(members, likely, counts) for counts in product(range(MOST + 1), repeat=len(members)))
    assert cost(members, likely, found) == pytest.approx(least, rel=1e-6)


def test_where_all_cost_the_same_the_largest_one_does_for_all() -> None:
    assert share(line([[0.3, 0.2], [0.3, 0.3]], [1.0, 1.0])) == [2, 0]
    assert share(line([[0.3, 0.2], [0.3, 0.3, 0.2]], [1.0, 1.0])) == [2, 1], "nobody needs a third large one"


def test_where_the_large_one_is_dear_who_asks_for_less_has_its_own() -> None:
    assert share(line([[0.3, 0.2], [0.3, 0.3, 0.2]], [8.0, 1.0])) == [2, 1]
    assert share(line([[0.05], [0.3, 0.3, 0.2]], [8.0, 1.0])) == [0, 3]


def test_nobody_has_larger_ones_that_nobody_asks_for() -> None:
    assert share(line([[], [0.3, 0.3]], [1.0, 1.0])) == [0, 2]


def test_what_stands_anyway_does_for_those_whom_it_may_serve() -> None:
    likely = [[0.3], [0.3, 0.3, 0.2]]
    assert share(line(likely, [2.0, 1.0], least=[2, 0])) == [2, 1]
    assert share(line(likely, [2.0, 1.0], least=[0, 5])) == [1, 5], "the small ones do not serve the large"


def test_what_is_wanted_at_any_price_is_of_the_smallest_shape_that_will_do() -> None:
    members = line([[], []], [2.0, 1.0])
    members = [one._replace(saving=surely(number)) for one, number in zip(members, (2, 5), strict=True)]
    assert share(members) == [2, 3]


def test_those_that_may_not_serve_each_other_have_each_their_own() -> None:
    saving = Saving([0.3, 0.3], 10.0)
    assert share([Member(saving, 1.0, 0, (0,), ()), Member(saving, 1.0, 0, (1,), ())]) == [2, 2]
    both = Member(Saving([0.3, 0.3], 10.0), 1.5, 0, (0, 1, 2), ())
    apart = [Member(Saving([0.6, 0.6], 10.0), 1.0, 0, (place,), (0,)) for place in (1, 2)]
    assert share([both, *apart]) == [2, 0, 0], "one that serves two costs less than two"

"""How many idle clusters are wanted follows from what is wanted when, in whatever order it was said."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from pool.core.expected import MOST, RHYTHM, Expected

WHO = ("tenant", "group")
DEEDS = st.lists(
    st.tuples(st.sampled_from(["want", "drop", "until"]), st.integers(0, 4), st.integers(1, 3), st.integers(0, 30),
              st.integers(1, 30), st.integers(0, 5)),
    max_size=40,
)  # fmt: skip


@given(DEEDS)
def test_what_is_wanted_is_what_a_list_of_wishes_says(deeds: list[tuple[str, int, int, int, int, int]]) -> None:
    expected, wishes, now = Expected(), dict[int, tuple[int, float, float]](), 0.0
    for deed, rank, clusters, from_s, lasts_s, passes_s in deeds:
        begins, ends = now + from_s - 5.0, now + from_s - 5.0 + lasts_s
        if deed == "want":
            expected.want(WHO, rank, clusters, begins, ends, begins)
            wishes[rank] = (clusters, begins, ends)
        elif deed == "drop":
            expected.drop(WHO, rank)
            wishes.pop(rank, None)
        elif rank in wishes:
            expected.until(WHO, rank, now + lasts_s)
            number, since, until = wishes[rank]
            wishes[rank] = (number, since, min(until, now + lasts_s))
        now += passes_s
        assert expected.wanted(now) == sum(n for n, since, until in wishes.values() if since <= now < until)
        assert expected.next_change() > now
    later = now + 100.0
    assert expected.wanted(later) == 0
    assert not expected.wishes


def test_a_wish_whose_time_is_over_lapses_and_one_that_was_taken_does_not() -> None:
    expected = Expected()
    expected.want(WHO, 1, 1, 0.0, 10.0, 4.0)
    expected.want(WHO, 2, 2, 0.0, 10.0, 4.0)
    assert expected.wanted(5.0) == 3
    assert expected.drop(WHO, 1) == 4.0
    assert expected.drop(WHO, 1) == math.inf
    assert expected.lapsed(20.0) == 2
    assert expected.lapsed(20.0) == 0


def test_a_wish_for_later_is_told_with_the_time_for_which_it_is_ready() -> None:
    expected = Expected()
    expected.want(RHYTHM, 0, 1, 10.0, 20.0, 15.0)
    assert expected.wanted(5.0) == 0
    assert expected.has_rhythm()
    assert expected.for_rhythm() == 0
    assert expected.drop(RHYTHM, 0) == 15.0
    assert not expected.has_rhythm()


def test_there_is_an_end_to_what_may_be_wanted() -> None:
    expected = Expected()
    for rank in range(3 * MOST):
        expected.want(WHO, rank, 1, 0.0, 10.0, 0.0)
    assert expected.wanted(1.0) == MOST
    for n in range(20 * MOST):
        expected.want(WHO, n % 3, 1, 5.0, 1e6, 5.0)
    assert len(expected._changes) <= 8 * MOST

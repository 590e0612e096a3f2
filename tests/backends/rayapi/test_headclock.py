"""A head's clock, from the dates of its answers."""

from __future__ import annotations

from email.utils import formatdate

from pool.backends.rayapi.headclock import HeadClock

T0 = 1_700_000_000.0


def test_many_answers_tell_more_than_a_second() -> None:
    clock = HeadClock()
    for i in range(20):
        asked = T0 + i * 1.05
        # The head is 90 s ahead.
        clock.note(asked, asked + 0.01, formatdate(int(asked + 0.005 + 90), usegmt=True))
    since, until = clock.window_ms(T0, T0 + 10)
    assert since <= (T0 + 90) * 1000 <= since + 150
    assert until - 150 <= (T0 + 100) * 1000 <= until


def test_a_clock_that_is_set_is_learnt_anew() -> None:
    clock = HeadClock()
    clock.note(T0, T0, formatdate(int(T0 + 100), usegmt=True))
    clock.note(T0 + 1, T0 + 1, formatdate(int(T0 - 99), usegmt=True))
    since, until = clock.window_ms(T0, T0)
    assert since <= (T0 - 99) * 1000 <= until
    assert until - since < 3000


def test_without_a_date_clocks_are_taken_for_nearly_equal() -> None:
    clock = HeadClock()
    clock.note(T0, T0, "no date")
    clock.note(T0, T0, "")
    assert clock.window_ms(T0, T0) == (int(T0 * 1000) - 1000, int(T0 * 1000) + 1001)

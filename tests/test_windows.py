"""Scheduled windows are a function of now."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pool.windows import Window, next_change, open_floors, trigger

BERLIN = "Europe/Berlin"
OFFICE = Window("gpu", "0 8 * * 1-5", 10 * 3600, 3, BERLIN)


def at(text: str, zone: str = BERLIN, fold: int = 0) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold).timestamp()


@pytest.mark.parametrize(
    ("now", "floors"),
    [
        ("2026-06-05T07:59:59.999", {}),
        ("2026-06-05T08:00", {"gpu": 3}),
        ("2026-06-05T12:34:56.789", {"gpu": 3}),
        ("2026-06-05T17:59:59.999", {"gpu": 3}),
        ("2026-06-05T18:00", {}),
        ("2026-06-06T12:00", {}),  # a Saturday
        ("2026-06-07T12:00", {}),  # a Sunday
        ("2026-06-08T12:00", {"gpu": 3}),  # a Monday
    ],
)
def test_a_window_is_open_from_its_time_for_its_duration(now: str, floors: dict[str, int]) -> None:
    assert open_floors([OFFICE], at(now)) == floors


def test_overlapping_windows_take_the_maximum_and_pools_are_apart() -> None:
    windows = [OFFICE, Window("gpu", "0 12 * * *", 3600, 5, BERLIN), Window("cpu", "0 12 * * *", 3600, 1, BERLIN)]
    assert open_floors(windows, at("2026-06-05T11:59")) == {"gpu": 3}
    assert open_floors(windows, at("2026-06-05T12:30")) == {"gpu": 5, "cpu": 1}
    assert open_floors(windows, at("2026-06-05T13:00")) == {"gpu": 3}
    assert open_floors(windows, at("2026-06-06T12:30")) == {"gpu": 5, "cpu": 1}


def test_a_window_that_overlaps_itself_stays_open() -> None:
    often = Window("a", "*/10 * * * *", 900, 1)
    assert all(open_floors([often], at("2026-06-05T12:00") + s) == {"a": 1} for s in range(0, 7200, 7))


def test_a_window_longer_than_a_day_is_open_on_the_day_after() -> None:
    weekend = Window("a", "0 18 * * fri", 60 * 3600, 1, BERLIN)
    assert open_floors([weekend], at("2026-06-07T23:00")) == {"a": 1}
    assert open_floors([weekend], at("2026-06-08T06:00")) == {}


def test_each_window_keeps_the_time_of_its_own_zone() -> None:
    tokyo = Window("a", "0 8 * * *", 3600, 1, "Asia/Tokyo")
    assert open_floors([tokyo], at("2026-06-05T08:30", "Asia/Tokyo")) == {"a": 1}
    assert open_floors([tokyo], at("2026-06-05T08:30", BERLIN)) == {}


@pytest.mark.parametrize("day", ["2026-03-27", "2026-03-30", "2026-10-23", "2026-10-26"])
def test_eight_in_the_morning_stays_eight_when_the_clocks_change(day: str) -> None:
    assert open_floors([OFFICE], at(f"{day}T07:59:59")) == {}
    assert open_floors([OFFICE], at(f"{day}T08:00")) == {"gpu": 3}
    assert open_floors([OFFICE], at(f"{day}T18:00")) == {}


def test_a_window_over_the_change_of_the_clocks_lasts_its_real_time() -> None:
    night = Window("a", "0 1 * * *", 4 * 3600, 1, BERLIN)
    spring, autumn = at("2026-03-29T01:00"), at("2026-10-25T01:00")
    for opened, local_end in ((spring, "2026-03-29T06:00"), (autumn, "2026-10-25T04:00")):
        assert open_floors([night], opened) == {"a": 1}
        assert open_floors([night], opened + 4 * 3600 - 0.001) == {"a": 1}
        assert open_floors([night], opened + 4 * 3600) == {}
        assert opened + 4 * 3600 == at(local_end)


def test_a_time_that_is_skipped_opens_an_hour_later_and_one_that_comes_twice_opens_twice() -> None:
    half_past_two = Window("a", "30 2 * * *", 600, 1, BERLIN)
    assert open_floors([half_past_two], at("2026-03-29T03:30")) == {"a": 1}
    assert open_floors([half_past_two], at("2026-10-25T02:35", fold=0)) == {"a": 1}
    assert open_floors([half_past_two], at("2026-10-25T02:35", fold=1)) == {"a": 1}


def test_the_next_change_is_an_opening_or_a_closing() -> None:
    assert next_change([OFFICE], at("2026-06-05T07:00")) == at("2026-06-05T08:00")
    assert next_change([OFFICE], at("2026-06-05T08:00")) == at("2026-06-05T18:00")
    assert next_change([OFFICE], at("2026-06-05T18:00")) == at("2026-06-08T08:00")
    assert next_change([], 0.0) is None


WINDOWS = st.lists(
    st.builds(
        Window,
        st.sampled_from("ab"),
        st.sampled_from(["0 8 * * 1-5", "*/20 * * * *", "15 2 * * *", "0 0 1 * *", "30 23 * * 6,7"]),
        st.sampled_from([60.0, 900.0, 3600.0, 30 * 3600.0]),
        st.integers(0, 5),
        st.sampled_from(["UTC", BERLIN, "America/New_York", "Australia/Lord_Howe"]),
    ),
    max_size=4,
)


@given(WINDOWS, st.floats(1.76e9, 1.80e9), st.floats(0, 1))
def test_nothing_changes_between_two_changes(windows: list[Window], now: float, share: float) -> None:
    change = next_change(windows, now)
    if change is None:
        assert not windows
    else:
        between = min(now + (change - now) * share, change - 1e-3)
        assert between < now or open_floors(windows, between) == open_floors(windows, now)


@pytest.mark.parametrize(
    ("weekdays", "days"),
    [("0", "sun"), ("7", "sun"), ("1-5", "mon tue wed thu fri"), ("0-6/2", "sun tue thu sat"), ("5-7", "fri sat sun"),
     ("6,0", "sat sun"), ("mon-fri", "mon tue wed thu fri"), ("*", "mon tue wed thu fri sat sun"), ("5/1", "fri sat")],
)  # fmt: skip
def test_days_of_the_week_are_counted_as_crontab_does(weekdays: str, days: str) -> None:
    window = Window("a", f"0 12 * * {weekdays}", 60, 1)
    names = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
    noon = at("2026-06-01T12:00", "UTC")  # a Monday
    assert {names[i] for i in range(7) if open_floors([window], noon + i * 86_400)} == set(days.split())


@pytest.mark.parametrize(
    ("cron", "sentence"),
    [
        ("0 8 * *", "is not a cron time; write minute, hour"),
        ("", "is not a cron time"),
        ("0 25 * * *", "is not a cron time"),
        ("0 8 * * 8", "is not a cron time"),
        ("0 8 * * 5-1", "not a range of days"),
        ("0 8 1 * 1", "use two windows instead"),
        ("0 8 31 2 *", "never comes true"),
        ("x y * * *", "is not a cron time"),
    ],
)
def test_what_is_no_cron_time_is_refused_in_words(cron: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        trigger(cron, "UTC")


def test_a_zone_that_does_not_exist_is_refused() -> None:
    for name in ("Mars/Base", "../etc/passwd", ""):
        with pytest.raises(ValueError, match="is not a time zone"):
            trigger("0 8 * * *", name)

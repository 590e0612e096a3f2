"""Pictures of replays: the same bytes for the same replay, and one sentence where none can be drawn."""

from __future__ import annotations

import random
import sys
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from policies.ski_rental import BreakEven
from pool.core.errors import PoolError
from pool.core.model import ClusterState
from pool.replay.frontier import Point, best, fixed_times, point
from pool.replay.plots import COLUMNS, LINES, ROWS, SHOWN, Change, Picture, _in_time, _reach, _rows, _states, draw
from pool.replay.timeline import Spell, Timeline
from pool.replay.workflows import Demand, generate
from tests.replay.test_compare import TIMES, replayed

JOBS = generate(Demand(workflows=3, days=1.0, executions_per_day=30.0), 3)


@pytest.fixture(scope="module")
def picture() -> Picture:
    ledger = replayed(BreakEven(300.0), JOBS, ledger=Timeline).ledger
    assert isinstance(ledger, Timeline)
    points = [point("mine <b>", ledger.total()), best(JOBS, 300.0, TIMES)]
    changes = [Change("one", -3.0), Change("other", 0.5)]
    return Picture("A & B", ledger.spells, fixed_times(JOBS, TIMES), points, changes, "cost", [("leases", "1 < 2")])


def test_the_same_replay_gives_the_same_bytes(picture: Picture, tmp_path: Path) -> None:
    for name in ("one.svg", "two.svg"):
        draw(picture, tmp_path / name)
    text = (tmp_path / "one.svg").read_text()
    assert text == (tmp_path / "two.svg").read_text()
    for shown in ("A &amp; B", "leased", "mine &lt;b&gt;", "Each cluster and its leases", "other"):
        assert shown in text


def test_a_page_holds_the_picture_and_the_figures(picture: Picture, tmp_path: Path) -> None:
    draw(picture, tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text()
    assert text.startswith("<!doctype html>")
    assert "<td>leases<td>1 &lt; 2" in text
    assert text.count("<svg") == 1
    assert "<?xml" not in text
    assert "src=" not in text, "it loads nothing"


def test_clusters_that_live_one_after_the_other_share_a_row() -> None:
    lives = [(f"c-{n}", n * 10.0, n * 10.0 + (15.0 if n % 2 else 10.0)) for n in range(10)]
    rows, left_out = _rows([Spell(id_, "p", ClusterState.IDLE, begins, ends) for id_, begins, ends in lives])
    assert (set(rows.values()), left_out) == ({0, 1}, 0)
    many = [Spell(f"c-{n}", "p", ClusterState.IDLE, 0.0, 1.0) for n in range(ROWS + 5)]
    assert _rows(many)[1] == 5


def spells_of(cluster: str, *states: tuple[ClusterState, float]) -> list[Spell]:
    """Return the spells of a cluster that was in these states for so many seconds each, from 0 on."""
    found, at = [], 0.0
    for state, seconds in states:
        found.append(Spell(cluster, "p", state, at, at + seconds))
        at += seconds
    return found


def test_what_shares_a_column_of_the_picture_shares_its_height() -> None:
    leased, idle = ClusterState.LEASED, ClusterState.IDLE
    spells = spells_of("a", (leased, COLUMNS / 2 - 0.5), (idle, 0.25), (ClusterState.STARTING, 0.25))
    image = _states([spells, []], 0.0, float(COLUMNS))
    assert image.shape == (2 * (LINES + 2), COLUMNS)
    names, none = list(SHOWN), len(SHOWN)
    blank, half = [none], COLUMNS // 2 - 1
    assert list(image[: LINES + 2, 0]) == blank + [names.index("leased")] * LINES + blank
    shown = ["leased"] * (LINES // 2) + ["idle"] * (LINES // 4) + ["starting"] * (LINES // 4)
    assert list(image[: LINES + 2, half]) == blank + [names.index(name) for name in reversed(shown)] + blank
    assert (image[:, half + 1 :] == none).all()
    assert (image[LINES + 2 :] == none).all(), "nobody lived on the second row"


def test_what_is_narrower_than_a_line_is_shown_for_its_share_of_the_whole() -> None:
    rng = random.Random(3)
    most_s = {ClusterState.LEASED: 1.0, ClusterState.IDLE: 1.0, ClusterState.STARTING: 0.05}
    spells = spells_of("a", *((state, rng.random() * most_s[state]) for state in [*most_s] * 10_000))
    ends = spells[-1].ends_s
    image = _states([spells], 0.0, ends)
    for n, (states, _) in enumerate(SHOWN.values()):
        share = sum(spell.ends_s - spell.begins_s for spell in spells if spell.state in states) / ends
        assert (image == n).sum() / (LINES * COLUMNS) == pytest.approx(share, abs=1 / COLUMNS)


def test_a_picture_of_weeks_is_no_larger_than_one_of_a_day(picture: Picture, tmp_path: Path) -> None:
    rng = random.Random(4)
    states = (ClusterState.LEASED, ClusterState.IDLE)
    weeks = [
        spell
        for n in range(ROWS)
        for spell in spells_of(f"c-{n:02}", *((states[m % 2], 1 + rng.random()) for m in range(2_000)))
    ]
    draw(Picture("weeks", weeks, (), picture.points), tmp_path / "weeks.svg")
    assert (tmp_path / "weeks.svg").stat().st_size < 500_000


def test_what_is_far_above_the_rest_does_not_flatten_it() -> None:
    assert _reach([0.3, 0.1, 0.1, 12.1, 0.0]) == 0.3
    assert _reach([12.1, 0.1, 0.2]) == 12.1, "what was asked about is always in the picture"
    assert _reach([3.0, 5.0, 10.0]) == 10.0
    assert _reach([4.0]) == 8.0


@pytest.mark.parametrize(
    ("begins", "ends", "said"),
    [
        (1_795_767_408.0, 1_795_767_728.0, ["08:17", "08:18", "08:19", "08:20", "08:21", "08:22"]),
        (1_795_767_408.0, 1_795_767_428.0, ["08:16:50", "08:16:55", "08:17:00", "08:17:05"]),
        (
            1_795_767_408.0,
            1_795_900_000.0,
            ["11-27 12:00", "11-27 18:00", "11-28 00:00", "11-28 06:00", "11-28 12:00", "11-28 18:00"],
        ),
        (604_800.0, 604_800.0 + 4 * 86_400.0, [f"day {n}" for n in range(1, 6)]),
        (0.0, 400 * 86_400.0, ["day 1", "day 64", "day 127", "day 190", "day 253", "day 316", "day 379"]),
    ],
)
def test_times_below_a_picture_are_round(begins: float, ends: float, said: list[str]) -> None:
    axes = Figure().subplots()
    _in_time(axes, begins, ends)
    assert [label.get_text() for label in axes.get_xticklabels()] == said


def test_an_empty_replay_is_drawn_too(tmp_path: Path) -> None:
    draw(Picture("nothing", (), (), [Point("x", 0.0, 0.0, 1.0)]), tmp_path / "none.svg")
    assert (tmp_path / "none.svg").exists()


def test_another_kind_of_file_is_refused(picture: Picture, tmp_path: Path) -> None:
    with pytest.raises(PoolError, match=r"\.svg or \.html, and it\.pdf is neither"):
        draw(picture, tmp_path / "it.pdf")


def test_without_matplotlib_the_extra_is_named(
    picture: Picture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(PoolError) as error:
        draw(picture, tmp_path / "it.svg")
    assert error.value.remedy == "Install warmpool[plots]."

"""Pictures of replays: the same bytes for the same replay, and one sentence where none can be drawn."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from policies.ski_rental import BreakEven
from pool.core.errors import PoolError
from pool.core.model import ClusterState
from pool.replay.frontier import Point, best, fixed_times, point
from pool.replay.plots import ROWS, Change, Picture, _in_time, _reach, _rows, draw
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

"""Pictures of replays: the same bytes for the same replay, and one sentence where none can be drawn."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from policies.ski_rental import BreakEven
from pool.core.errors import PoolError
from pool.core.model import ClusterState
from pool.replay.frontier import Point, best, fixed_times, point
from pool.replay.plots import ROWS, Change, Picture, _rows, draw
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

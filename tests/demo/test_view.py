"""The display and the table fit the terminal, and say what was measured."""

from __future__ import annotations

import io

import pytest
from rich.console import Console
from rich.spinner import Spinner

from pool.demo.board import Act, Board
from pool.demo.figures import Run
from pool.demo.view import Picture, Plain, final
from pool.flyte.record import TaskRecord

TASKS = ["load", "features", "train_models", "cross_validate", "evaluate", "report"]


def leased(name: str, acquire_s: float, reason: str = "", outcome: str = "hit") -> TaskRecord:
    return TaskRecord(
        f"workflow.{name}",
        0.0,
        outcome=outcome,
        reason=reason,
        acquire_s=acquire_s,
        connect_s=0.1,
        body_s=1.5,
        handover_s=0.07,
    )


def three_runs() -> list[Run]:
    cold = (
        leased(TASKS[0], 12.0, "no_cluster", "cold"),
        *(leased(t, 0.2, "all_resetting", "waited") for t in TASKS[1:]),
    )
    warm = tuple(leased(task, 0.01) for task in TASKS)
    fresh = tuple(
        TaskRecord(f"workflow.{t}", 0.0, how="fresh", connect_s=9.0, body_s=2.0, release_s=1.0) for t in TASKS
    )
    return [Run("cold", 0.0, 40.0, cold), Run("warm", 0.0, 19.0, warm), Run("fresh", 0.0, 112.0, fresh)]


def drawn(thing: object, width: int) -> list[str]:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(thing)
    return console.file.getvalue().splitlines()  # type: ignore[attr-defined]


@pytest.mark.parametrize("width", [80, 100, 140])
def test_no_figure_of_the_table_is_cut(width: int) -> None:
    lines = drawn(final(three_runs(), width), width)
    text = "\n".join(lines)
    assert max(map(len, lines)) <= width
    assert "…" not in text
    for figure in ("12.10", "0.30", "0.11", "9.00", "31.00", "40.00", "112"):
        assert f" {figure} " in text
    for task in TASKS:
        assert task in text


def test_a_wide_table_says_the_reason_beside_the_outcome_and_a_narrow_one_below() -> None:
    wide, narrow = (drawn(final(three_runs(), width), width) for width in (140, 80))
    row = next(line for line in wide if "load" in line)
    assert "cold: no_cluster" in row
    row = next(line for line in narrow if "load" in line)
    assert "no_cluster" not in row
    assert any(line.strip() == "cold: no_cluster. The pool has no cluster yet." for line in narrow)


@pytest.mark.parametrize(("width", "column"), [(80, False), (110, True), (140, True)])
def test_what_was_handed_over_is_a_column_where_there_is_room_and_always_a_sum(width: int, column: bool) -> None:
    lines = drawn(final(three_runs(), width), width)
    row = next(line for line in lines if "cross_validate" in line)
    assert ("0.07" in row) is column
    # Six tasks, and none that was measured with a cluster each.
    total = next(line for line in lines if line.strip().startswith("handed") and "0.42" in line)
    assert total.split()[1:] in (["0.42", "0.42", "0.00"], ["0.42", "s", "0.42", "s", "0.00", "s"])


def test_the_sentence_compares_the_time_outside_bodies() -> None:
    text = "\n".join(drawn(final(three_runs(), 100), 100))
    # 19 - 6 x 1.5 = 10 against 112 - 6 x 2 = 100
    assert "10.0 s warm vs 100.0 s with a cluster per task: 10.0 times less" in text


def test_without_a_baseline_nothing_is_claimed_about_one() -> None:
    text = "\n".join(drawn(final(three_runs()[:2], 100), 100))
    assert "cluster per task" not in text
    assert "10.0 s warm" in text


@pytest.mark.parametrize("width", [80, 100])
def test_the_live_picture_fits(width: int) -> None:
    board = Board([Act("cold", "the first run finds no cluster"), Act("fresh", "its own", alone=True)], TASKS, 0.0)
    board.begin(board.acts[0], 0.0)
    board.recorded([leased("load", 12.0, "no_cluster", "cold")], 13.0)
    board.start_phase, board.start_detail = "starting", "waiting for the dashboard"
    lines = drawn(Picture(board, 72.0, Spinner("dots")), width)
    assert max(map(len, lines)) <= width
    text = "\n".join(lines)
    assert "1 min 12 s" in text
    assert "cold: no_cluster" in text
    assert "1 of 6 tasks" in text


def test_elsewhere_than_on_a_terminal_each_change_is_a_line() -> None:
    console = Console(file=io.StringIO(), width=80)
    board = Board([Act("cold", "an empty pool")], TASKS, 0.0)
    with Plain(console, board) as plain:
        plain.tell(board.begin(board.acts[0], 0.0))
        plain.tell([])
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert len(lines) == 1
    assert lines[0].endswith("s  cold: an empty pool")

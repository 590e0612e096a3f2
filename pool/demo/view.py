"""How the demo looks: the live display while it runs, and the table at its end."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.live import Live
from rich.padding import Padding
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from pool.client.request import seconds
from pool.core.reasons import Reason
from pool.demo.board import PHASES, Act, Board, Row, Stage
from pool.demo.figures import DEFINITIONS, Run, how, short, verdict, wait_s
from pool.flyte.record import TaskRecord

TITLES = {"cold": "cold pool", "warm": "warm pool", "fresh": "a cluster per task"}
BASELINE = (
    "own cluster: a cluster per task, as Flyte's Ray plugin gives it on Kubernetes; here a process and a Ray of its "
    "own for each."
)
_TOTALS = ("handed", "outside", "in all")
_STYLE = {"hit": "green", "waited": "yellow", "warm_head": "yellow", "cold": "yellow", "shared": "green"}
_MARK = {Stage.LATER: ("·", "dim"), Stage.DONE: ("✓", "green"), Stage.FAILED: ("✗", "red")}


class Screen:
    """The live display on a terminal."""

    def __init__(self, console: Console, board: Board) -> None:
        self._board = board
        self._spinner = Spinner("dots", style="cyan")
        self._live = Live(get_renderable=self._draw, console=console, refresh_per_second=10, transient=True)

    def __enter__(self) -> Screen:
        self._live.start(refresh=True)
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def tell(self, news: Sequence[str]) -> None:
        """Take the news: they are drawn from the board."""

    def _draw(self) -> RenderableType:
        return Picture(self._board, time.monotonic(), self._spinner)


class Plain:
    """One line per change, for logs and pipes."""

    def __init__(self, console: Console, board: Board) -> None:
        self._console = console
        self._began = board.began

    def __enter__(self) -> Plain:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def tell(self, news: Sequence[str]) -> None:
        """Write the news."""
        for line in news:
            at_s = time.monotonic() - self._began
            self._console.print(f"{at_s:6.1f} s  {line}", markup=False, highlight=False, soft_wrap=True)


class Picture:
    """The board as of one moment."""

    def __init__(self, board: Board, now: float, spinner: Spinner) -> None:
        self._board = board
        self._now = now
        self._spinner = spinner

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        board, now = self._board, self._now
        head = Table.grid(expand=True)
        head.add_column(no_wrap=True)
        head.add_column(justify="right")
        head.add_row(
            Text.from_markup("[bold]Warmpool[/]  [dim]a Flyte workflow on leased Ray clusters[/]", overflow="ellipsis"),
            Text(seconds_long(now - board.began), style="dim"),
        )
        yield Padding(head, (1, 2, 1, 2))
        acts = Table.grid(padding=(0, 2), expand=True)
        acts.add_column(width=1)
        acts.add_column(no_wrap=True, min_width=18)
        acts.add_column(style="dim", no_wrap=True, overflow="ellipsis", ratio=1)
        acts.add_column(justify="right", no_wrap=True, min_width=12)
        acts.add_column(justify="right", no_wrap=True, min_width=9)
        for act in board.acts:
            started = act.stage is not Stage.LATER
            acts.add_row(
                self._mark(act.stage),
                Text(TITLES[act.name], style="bold" if act.stage is Stage.RUNNING else "" if started else "dim"),
                act.note or act.title,
                Text(f"{act.done} of {len(act.rows)} tasks" if started else "", style="dim"),
                seconds(act.elapsed_s(now)) if started else "",
            )
        yield Padding(acts, (0, 2))
        if board.current is not None:
            yield Padding(self._tasks(board.current), (1, 2, 0, 2))
            if not board.current.alone:
                yield Padding(self._phases(), (1, 2, 1, 2))

    def _mark(self, stage: Stage) -> RenderableType:
        if stage in (Stage.RUNNING, Stage.WAITING):
            return self._spinner
        sign, style = _MARK[stage]
        return Text(sign, style=style)

    def _tasks(self, act: Act) -> Table:
        table = Table.grid(padding=(0, 2), expand=True)
        table.add_column(width=1)
        table.add_column(no_wrap=True)
        table.add_column(width=7)
        table.add_column(justify="right", no_wrap=True, min_width=8)
        table.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
        table.add_column(justify="right", no_wrap=True, min_width=8)
        table.add_row(*(Text(text, style="dim") for text in ("", "task", "", "wait", "", "body")))
        for row in act.rows.values():
            table.add_row(self._mark(row.stage), *self._cells(row))
        return table

    def _cells(self, row: Row) -> tuple[RenderableType, ...]:
        since = seconds(max(0.0, self._now - row.since))
        record = row.record
        if record is not None:
            return (
                row.task,
                str(row.stage),
                f"{wait_s(record):.2f} s",
                Text(how(record), style=_style(record), no_wrap=True),
                f"{record.body_s:.2f} s",
            )
        if row.stage is Stage.WAITING:
            why = Text(f"{row.phase or 'queued'}" + (f" ({row.reason})" if row.reason else ""), style="yellow")
            return row.task, Text("waiting", style="yellow"), since, why, ""
        if row.stage is Stage.RUNNING:
            return row.task, Text("running", style="cyan"), "", "", Text(since, style="cyan")
        return Text(row.task, style="dim"), "", "", "", ""

    def _phases(self) -> Table:
        board = self._board
        grid = Table.grid(padding=(0, 1))
        at = PHASES.index(board.start_phase) if board.start_phase else -1
        cells: list[RenderableType] = [Text("cluster:", style="dim")]
        for number, phase in enumerate(PHASES):
            if number:
                cells.append(Text("──", style="green" if number <= at else "dim"))
            if number == at and phase in ("queued", "starting"):
                detail = f" {board.start_detail}" if board.start_detail else ""
                since = seconds(self._now - board.start_since)
                told = Text.assemble((phase, "cyan"), (f"{detail} {since}", "dim"), no_wrap=True, overflow="ellipsis")
                cells += [self._spinner, told]
            else:
                cells.append(Text(phase, style="green" if number <= at else "dim"))
        grid.add_row(*cells)
        return grid


def final(runs: Sequence[Run], width: int) -> RenderableType:
    """Return the table of all runs, the sentence and what the columns mean, for `width` columns."""
    tasks = list(dict.fromkeys(short(record.task) for run in runs for record in run.tasks))
    first = max(len(text) for text in [*tasks, *_TOTALS])

    def room(gap: int) -> int:
        return width - 4 - first - sum(gap + block[0].cell_len for block in blocks)

    # First the units go, then the reasons, then what each task handed over: the sum stays.
    for units, reasons, handed in (
        (True, True, True),
        (False, True, True),
        (False, False, True),
        (False, False, False),
    ):
        blocks = [_block(run, tasks, units=units, reasons=reasons, handed=handed) for run in runs]
        if room(2) >= 0:
            break
    table = Table.grid(padding=(0, 3 if room(3) >= 0 else 2, 0, 0))
    labels = [
        ("", ""),
        ("task", "dim"),
        *((task, "bold") for task in tasks),
        *zip(_TOTALS, ("", "bold", ""), strict=True),
    ]
    for row, (label, style) in enumerate(labels):
        if row == len(tasks) + 2:
            table.add_row()
        table.add_row(Text(label, style=style, no_wrap=True), *(block[row] for block in blocks))
    parts: list[RenderableType] = [table, ""]
    if sentence := verdict(runs):
        parts += [Text(sentence, style="bold green"), ""]
    if not reasons:
        parts += [Text(line, style="dim") for line in _whys(runs)]
    if not units:
        parts.append(Text("All figures are seconds.", style="dim"))
    parts.append(Text(DEFINITIONS, style="dim"))
    if any(run.name == "fresh" for run in runs):
        parts.append(Text(BASELINE, style="dim"))
    return Padding(Group(*parts), (1, 2))


def _block(run: Run, tasks: Sequence[str], *, units: bool, reasons: bool, handed: bool) -> list[Text]:
    """Return a run's part of the table, line by line: all lines are equally wide."""
    leased = run.name != "fresh"
    by_task = {short(record.task): record for record in run.tasks}
    ways = [_way(record, reasons=reasons) if leased else "" for record in run.tasks]
    way_width = max([len(way) for way in ways], default=0)
    gap = "  " if leased else ""
    unit = " s" if units else ""
    found = [_figure(value_s) for record in run.tasks for value_s in (wait_s(record), record.body_s, record.handover_s)]
    number = max(5, *(len(figure) + len(unit) for figure in found))

    def line(one: str, way: Text, two: str, three: str, style: str = "") -> Text:
        way.truncate(way_width, pad=True)
        parts: list[Any] = [(f"{one:>{number}}", style), gap, way, "  ", (f"{two:>{number}}", style)]
        parts += ["  ", (f"{three:>{number}}", style or "dim")] if handed else []
        return Text.assemble(*parts, no_wrap=True)

    number = max(number, len("handed")) if handed else number
    width = 2 * number + len(gap) + way_width + 2 + handed * (number + 2)
    title = Text(TITLES[run.name] if leased else "own cluster", style="bold", no_wrap=True)
    title.align("center", max(width, title.cell_len))
    lines = [title, line("wait" if leased else "start", Text(), "body", "handed", "dim")]
    for task in tasks:
        record = by_task.get(task)
        if record is None:
            lines.append(Text(" " * width))
            continue
        way = Text(_way(record, reasons=reasons), style=_style(record)) if leased else Text()
        figures = (_figure(value_s) + unit for value_s in (wait_s(record), record.body_s, record.handover_s))
        one, two, three = figures
        lines.append(line(one, way, two, three))
    for total_s, style in ((run.handover_s, ""), (run.outside_s, "bold"), (run.wall_s, "")):
        lines.append(Text(f"{_figure(total_s) + unit:>{width}}", style=style, no_wrap=True))
    return lines


def _figure(value_s: float) -> str:
    return f"{value_s:.2f}" if value_s < 100 else f"{value_s:.0f}"


def _way(record: TaskRecord, *, reasons: bool) -> str:
    return how(record) if reasons else record.outcome or record.how


def _whys(runs: Sequence[Run]) -> list[str]:
    """Return why tasks missed, for a table too narrow to say it."""
    records = [record for run in runs for record in run.tasks if record.reason]
    missed = dict.fromkeys((record.outcome, record.reason) for record in records)
    return [f"{outcome}: {reason}. {Reason(reason).sentence}" for outcome, reason in missed]


def _style(record: TaskRecord) -> str:
    return _STYLE.get(record.outcome or record.how, "")


def seconds_long(value_s: float) -> str:
    """Return whole seconds as a person reads them: ``47 s``, ``1 min 12 s``."""
    return f"{value_s:.0f} s" if value_s < 60 else f"{value_s // 60:.0f} min {int(value_s) % 60} s"

"""Pictures of a replay: what its clusters did, and how policies trade idle time against waiting.

They are drawn with matplotlib (`pip install 'warmpool[plots]'`), as SVG, or as one HTML page that holds it. The same
replay gives the same bytes.
"""

from __future__ import annotations

import html
import io
import math
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from pool.core.errors import PoolError
from pool.core.model import ClusterState
from pool.core.reasons import Reason
from pool.replay.frontier import Point
from pool.replay.timeline import Spell

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ROWS = 40
"""So many clusters at once are shown one by one."""

BINS = 400

COLUMNS, LINES = 1_400, 8
"""The rows are drawn as an image: in so many columns, about half a point each, and with so many lines to a row."""

MARKS = 7
"""So many times are written below a picture, at most."""

DAY_S, YEAR_S = 86_400.0, 31_536_000.0
_STEPS = (1.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1800.0, 3600.0, 7200.0, 10_800.0, 21_600.0,
          43_200.0, DAY_S, 2 * DAY_S, 3 * DAY_S, 7 * DAY_S)  # fmt: skip
"""Seconds from one of these times to the next."""

SHOWN: Mapping[str, tuple[tuple[ClusterState, ...], str]] = {
    "leased": ((ClusterState.LEASED,), "#1b6ca8"),
    "idle": ((ClusterState.IDLE, ClusterState.SHRINKING, ClusterState.WARM_HEAD), "#f2b134"),
    "starting": ((ClusterState.STARTING, ClusterState.GROWING), "#c8553d"),
    "resetting, stopping": (
        (ClusterState.RESETTING, ClusterState.QUARANTINED, ClusterState.STOPPING),
        "#9a9a9a",
    ),
}
"""What clusters do, in the order of stacking, and its colour (told apart in grey and by who sees no red)."""

_LOOK: Any = {
    "svg.hashsalt": "warmpool",
    "svg.fonttype": "none",
    # An image is kept as it is, and not brought to another resolution.
    "image.composite_image": False,
    "font.family": ["DejaVu Sans", "sans-serif"],
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
}


@dataclass(frozen=True, slots=True)
class Change:
    """What another policy changes for one pool: cost, or cluster hours where there are no prices; less is better."""

    name: str
    amount: float


@dataclass(frozen=True, slots=True)
class Picture:
    """What is drawn.

    Attributes:
        title: over all of it.
        spells: of the clusters, for the timeline.
        fixed: the curve of fixed idle times; may be empty.
        points: other policies; the first is the one that was asked about.
        changes: of the pools that gain or lose most; may be empty.
        unit: of these changes.
        figures: of the page's table, name and value.
        of: whose clusters they are, where the title names several.
    """

    title: str
    spells: Sequence[Spell]
    fixed: Sequence[Point]
    points: Sequence[Point]
    changes: Sequence[Change] = ()
    unit: str = ""
    figures: Sequence[tuple[str, str]] = ()
    of: str = ""


def check(path: Path) -> None:
    """Refuse what could not be drawn in the end: ask before a replay, which takes its time.

    Raises:
        PoolError: matplotlib is not installed, the file's name ends otherwise, or it cannot be written.
    """
    what, remedy = "", "Name another file."
    if path.suffix not in (".svg", ".html"):
        what, remedy = f"A picture is .svg or .html, and {path.name} is neither.", "Name the file otherwise."
    elif find_spec("matplotlib") is None:
        what, remedy = "Pictures need a package that is not installed: matplotlib.", "Install warmpool[plots]."
    elif not path.parent.is_dir():
        what = f"{path} cannot be drawn: there is no directory {path.parent}."
    elif path.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK):
        what = f"{path} cannot be drawn: it may not be written."
    if what:
        raise PoolError(what, reason=Reason.INVALID_REQUEST, remedy=remedy)


def draw(picture: Picture, path: Path) -> None:
    """Write a picture: a page if the file's name ends with ``.html``, else SVG.

    Raises:
        PoolError: as `check` does.
        OSError: the file cannot be written after all; half a picture is not left.
    """
    check(path)
    svg = _svg(picture)
    try:
        path.write_text(svg if path.suffix == ".svg" else _page(picture, svg), encoding="utf-8")
    except OSError as error:
        with suppress(OSError):
            path.unlink()
        raise OSError(error.errno, error.strerror, str(path)) from None


def _svg(picture: Picture) -> str:
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    heights = [2.2, 3.6, 3.4] + ([0.5 + 0.25 * len(picture.changes)] if picture.changes else [])
    with rc_context(_LOOK):
        figure = Figure(figsize=(10.5, sum(heights) + 0.9 * len(heights)), layout="constrained")
        figure.suptitle(picture.title, fontsize=12, fontweight="bold", x=0.01, ha="left")
        axes = figure.subplots(len(heights), 1, height_ratios=heights)
        whose = f" with {picture.of}" if picture.of else ""
        _stacked(axes[0], picture.spells, whose)
        _clusters(axes[1], picture.spells, whose)
        _frontier(axes[2], picture)
        if picture.changes:
            _changes(axes[3], picture)
        out = io.StringIO()
        figure.savefig(out, format="svg", metadata={"Date": None})
    return out.getvalue()


def _stacked(axes: Axes, spells: Sequence[Spell], whose: str) -> None:
    """Draw how many clusters did what, on average over each of many short times."""
    import numpy as np

    axes.set_title(f"Clusters{whose}, by what they did")
    begins, ends = _span(spells)
    edges = np.linspace(begins, ends, BINS + 1)
    layers = [_mean_count([s for s in spells if s.state in states], edges) for states, _ in SHOWN.values()]
    colours = [colour for _, colour in SHOWN.values()]
    axes.stackplot((edges[:-1] + edges[1:]) / 2, layers, colors=colours, labels=list(SHOWN), linewidth=0)
    axes.set_ylabel("clusters")
    axes.legend(loc="upper left", bbox_to_anchor=(0.0, 1.0), ncols=len(SHOWN), frameon=False, fontsize=8)
    axes.set_ylim(top=1.25 * max(1.0, float(np.sum(layers, axis=0).max())))
    _in_time(axes, begins, ends)


def _mean_count(spells: Sequence[Spell], edges: Any) -> Any:
    import numpy as np

    if not spells:
        return np.zeros(len(edges) - 1)
    at = np.array([s.begins_s for s in spells] + [s.ends_s for s in spells])
    step = np.array([1.0] * len(spells) + [-1.0] * len(spells))
    order = np.argsort(at, kind="stable")
    at, count = at[order], np.cumsum(step[order])
    # Cluster seconds until each instant; between two of them they grow evenly.
    spent = np.concatenate(([0.0], np.cumsum(count[:-1] * np.diff(at))))
    return np.diff(np.interp(edges, at, spent)) / np.diff(edges)


def _clusters(axes: Axes, spells: Sequence[Spell], whose: str) -> None:
    """Draw what each cluster did, on the first row that is free while it lives."""
    from matplotlib.colors import to_rgba_array

    rows, left_out = _rows(spells)
    of_all = f" ({left_out:,} of {left_out + len(rows):,} find no room here)" if left_out else ""
    axes.set_title(f"Each cluster{whose} and its leases{of_all}")
    begins, ends = _span(spells)
    used = max(rows.values(), default=0) + 1
    of_row: list[list[Spell]] = [[] for _ in range(used)]
    for spell in spells:
        if spell.cluster in rows:
            of_row[rows[spell.cluster]].append(spell)
    colours = to_rgba_array([*(colour for _, colour in SHOWN.values()), "none"])
    axes.imshow(
        (255 * colours[_states(of_row, begins, ends)]).astype("uint8"),
        extent=(begins, ends, used - 0.5, -0.5),
        aspect="auto",
        interpolation="none",
    )
    axes.set_ylim(used, -1)
    axes.set_yticks([])
    axes.set_ylabel("one row for each that lives")
    _in_time(axes, begins, ends)


def _states(of_row: Sequence[Sequence[Spell]], begins: float, ends: float) -> Any:
    """Return which of `SHOWN` stands where in an image of rows of clusters, or how many there are for none of them.

    A column in which a cluster did several things has each of them one over the other, by their shares of its time. As
    shapes of their own, the spells of weeks would make a file of megabytes, most of it too narrow to be seen.
    """
    import numpy as np

    edges = np.linspace(begins, ends, COLUMNS + 1)
    # A line is left free on either side of a row.
    image = np.full((len(of_row), LINES + 2, COLUMNS), len(SHOWN))
    line = np.arange(LINES)[:, np.newaxis]
    for row, spells in enumerate(of_row):
        shares = [_mean_count([s for s in spells if s.state in states], edges) for states, _ in SHOWN.values()]
        # Rounded over all columns until here: what is less than a line in each of them adds up to one in some.
        reach = np.diff(np.rint(np.cumsum(np.cumsum(shares, axis=0) * LINES, axis=1)), axis=1, prepend=0.0)
        for state in reversed(range(len(SHOWN))):
            image[row, 1:-1][line >= LINES - reach[state]] = state
    return image.reshape(-1, COLUMNS)


def _rows(spells: Sequence[Spell]) -> tuple[dict[str, int], int]:
    """Return a row for each cluster that finds one, and how many do not."""
    lives: dict[str, tuple[float, float]] = {}
    for spell in spells:
        begins, ends = lives.get(spell.cluster, (spell.begins_s, spell.ends_s))
        lives[spell.cluster] = min(begins, spell.begins_s), max(ends, spell.ends_s)
    free_at = [-math.inf] * ROWS
    rows: dict[str, int] = {}
    for id_, (begins, ends) in sorted(lives.items(), key=lambda life: (*life[1], life[0])):
        row = next((n for n, at in enumerate(free_at) if at <= begins), None)
        if row is not None:
            rows[id_] = row
            free_at[row] = ends
    return rows, len(lives) - len(rows)


def _frontier(axes: Axes, picture: Picture) -> None:
    axes.set_title("Idle time against waiting: down and left is better")
    most_s = _reach([shown.idle_s for shown in picture.points])
    fixed = [shown for shown in picture.fixed if shown.idle_s <= most_s]
    if fixed:
        idle = [shown.idle_s / 3600 for shown in fixed]
        axes.plot([shown.waited_s for shown in fixed], idle, "-o", color="#9a9a9a", ms=3, lw=1, label="a fixed time")
    for shown in fixed[1:]:
        where = shown.waited_s, shown.idle_s / 3600
        axes.annotate(shown.name, where, (5, 3), textcoords="offset points", color="#6f6f6f", fontsize=7)
    for n, shown in enumerate(picture.points):
        said = f"{shown.name}: {shown.hit_rate:.1%} hits, {_hours(shown.idle_s)} idle"
        said += ", above the picture" if shown.idle_s > most_s else ""
        colour, marker = _POINTS[n % len(_POINTS)]
        height = min(shown.idle_s, 1.1 * most_s) / 3600
        axes.plot([shown.waited_s], [height], marker, color=colour, ms=9, label=said, clip_on=False)
    axes.set_xlabel("what a lease waited on average, in seconds")
    axes.set_ylabel("idle cluster hours")
    every = [*fixed, *picture.points]
    axes.set_xlim(0, 1.1 * max(shown.waited_s for shown in every) or 1)
    axes.set_ylim(0, 1.1 * most_s / 3600 or 1)
    axes.legend(loc="best", framealpha=0.8, edgecolor="none", fontsize=8)
    axes.grid(alpha=0.25)


def _reach(idle_s: Sequence[float]) -> float:
    """Return up to where idle time is drawn: what lies far above the rest would leave no room for what lies between."""
    first, *others = idle_s
    near = max(6 * first, 2 * median(idle_s))
    return max((seconds for seconds in idle_s if seconds <= near), default=first) if others else 2 * first


def _hours(seconds: float) -> str:
    found = seconds / 3600
    return f"{found:,.1f} h" if found >= 1 or not found else f"{found:.2g} h"


_POINTS = (("#c8553d", "D"), ("#1b6ca8", "s"), ("#2a7f62", "^"), ("#7a4f9a", "v"), ("#111111", "*"))
"""Colour and marker of each policy."""


def _changes(axes: Axes, picture: Picture) -> None:
    changes = list(picture.changes)[::-1]
    axes.set_title(f"The pools that gain or lose most ({picture.unit}; less is better)")
    colours = ["#c8553d" if change.amount > 0 else "#2a7f62" for change in changes]
    axes.barh([change.name for change in changes], [change.amount for change in changes], color=colours, height=0.7)
    axes.axvline(0, color="#333333", lw=0.8)
    axes.grid(axis="x", alpha=0.25)


def _span(spells: Sequence[Spell]) -> tuple[float, float]:
    if not spells:
        return 0.0, 1.0
    begins = min(spell.begins_s for spell in spells)
    return begins, max(begins + 1.0, max(spell.ends_s for spell in spells))


def _in_time(axes: Axes, begins: float, ends: float) -> None:
    """Write the times of a span below it, in UTC: round ones, clock and date as far as they differ."""
    axes.set_xlim(begins, ends)
    step = next((step for step in _STEPS if (ends - begins) / step <= MARKS), _STEPS[-1])
    step *= max(1, math.ceil((ends - begins) / step / MARKS))
    first = math.ceil(begins / step)
    marks = [n * step for n in range(first, first + MARKS + 1) if n * step <= ends]
    axes.set_xticks(marks, [_moment(at, begins, step) for at in marks])


def _moment(at: float, begins: float, step: float) -> str:
    moment = datetime.fromtimestamp(at, UTC)
    clock = "" if step >= DAY_S else f"{moment:%H:%M:%S}" if step < 60 else f"{moment:%H:%M}"
    if begins < YEAR_S:
        # A trace whose clock begins at 0 has no dates.
        return f"day {int(at // DAY_S - begins // DAY_S) + 1} {clock}".strip()
    return f"{moment:%m-%d} {clock}".strip() if step >= 3600 else clock


def _page(picture: Picture, svg: str) -> str:
    rows = "".join(f"<tr><td>{html.escape(name)}<td>{html.escape(value)}" for name, value in picture.figures)
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{html.escape(picture.title)}</title>'
        "<style>body{font:14px sans-serif;max-width:72em;margin:2em auto}svg{width:100%;height:auto}"
        "td{padding:.2em 1.5em .2em 0;border-bottom:1px solid #ddd}</style>"
        f"<h1>{html.escape(picture.title)}</h1><table>{rows}</table>{svg[svg.index('<svg') :]}</html>\n"
    )

"""What was learned, as rows that a store keeps, so that a restart goes on with it.

A row is one class of episodes, when a pool was asked for, a place in workflows, the uses of a pool, or what else is
`Kept`. Each says as of when it is: the leases that history has tell what came after, and of what came before nothing is
learned twice. A row that this version cannot read, or that is of a time to come, is left out: what it held is learned
anew.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

from pool.core.gaps import BINS, Curve
from pool.core.state import State
from pool.core.uses import REMEMBERED, Use
from pool.core.workflows import Delay, Place, Step

_CURVE, _ASKED, _PLACE, _USES = "curve", "asked", "place", "uses"


def changed(state: State, now: float, at_most: int) -> dict[str, str | None]:
    """Return rows of what has changed since it was last returned, the longest unsaved first; None for what is gone."""
    rows: dict[str, str | None] = {}
    for name in _unsaved(state, at_most):
        kind, *class_ = name
        del _notes(state, kind)[_note(kind, class_)]
        rows[json.dumps(name, separators=(",", ":"))] = _told(state, kind, class_, now)
    return rows


def again(state: State, rows: Mapping[str, str | None]) -> None:
    """Note that rows could not be kept."""
    for name in rows:
        kind, *class_ = json.loads(name)
        _notes(state, kind)[_note(kind, class_)] = None


def restore(state: State, rows: Mapping[str, str], now: float) -> None:
    """Take over what was kept."""
    for name, told in rows.items():
        try:
            kind, *class_ = json.loads(name)
            as_of, *rest = json.loads(told)
            if as_of <= now:
                _take(state, kind, class_, float(as_of), rest)
        except (ValueError, TypeError, IndexError):
            continue


def _notes(state: State, kind: str) -> dict[Any, None]:
    """Return the notes of what of a kind has changed."""
    gaps, workflows = state.gaps, state.workflows
    notes: dict[str, dict[Any, None]] = {
        **{of: kept.unsaved for of, kept in state.kept.items()},
        _CURVE: gaps.unsaved, _ASKED: gaps.unsaved_asks, _PLACE: workflows.unsaved, _USES: state.unsaved_uses,
    }  # fmt: skip
    return notes[kind]


def _note(kind: str, class_: Sequence[Any]) -> Any:
    return tuple(class_) if kind in (_CURVE, _PLACE) else class_[0]


def _unsaved(state: State, at_most: int) -> list[list[Any]]:
    names: list[list[Any]] = []
    for kind in (_CURVE, _ASKED, _PLACE, _USES, *state.kept):
        notes = islice(_notes(state, kind), at_most - len(names))
        names += [[kind, *([note] if isinstance(note, str) else note)] for note in notes]
    return names


def _told(state: State, kind: str, class_: Sequence[Any], now: float) -> str | None:
    """Return the row of what is learned under a name, None if nothing is any more."""
    if kind == _CURVE:
        told: Any = _told_curve(state.gaps.curves.get(tuple(class_)))
    elif kind == _ASKED:
        told = [state.gaps.asks_of(class_[0])]
    elif kind == _PLACE:
        told = _told_place(state.workflows.places.get(class_[0], {}).get(class_[1]))
    elif kind == _USES:
        told = _told_uses(state, class_[0])
    else:
        kept = state.kept[kind].told(class_[0])
        told = None if kept is None else [kept]
    return None if told is None else json.dumps([now, *told], separators=(",", ":"))


def _take(state: State, kind: str, class_: Sequence[Any], as_of: float, told: list[Any]) -> None:
    if kind == _CURVE:
        curve = _curve(as_of, *told)
        if curve is not None:
            state.gaps.curves[tuple(class_)] = curve
    elif kind == _ASKED:
        state.gaps.recall_asks(str(class_[0]), [float(at) for at in told[0]])
    elif kind == _PLACE:
        state.workflows.recall(str(class_[0]), str(class_[1]), _place(as_of, *told))
    elif kind in state.kept:
        state.kept[kind].recall(str(class_[0]), told[0], as_of)
    elif kind == _USES and class_[0] in state.index:
        uses = state.index[class_[0]].uses
        uses.last_at, seen = float(told[0]), [Use(float(at), float(gap_s)) for at, gap_s in told[1]]
        uses.seen.extend(seen[-REMEMBERED:])
        uses.as_of = as_of


def _told_curve(curve: Curve | None) -> list[Any] | None:
    if curve is None:
        return None
    numbers = [_short(value) for value in curve.sums]
    return [curve.since, curve.half_life_s, curve.weight, numbers]


def _curve(as_of: float, since: float, half_life_s: float, weight: float, sums: Sequence[float]) -> Curve | None:
    if len(sums) != 2 * BINS or half_life_s <= 0:
        return None
    curve = Curve(float(since), float(half_life_s))
    curve.as_of, curve.weight, curve.sums = as_of, float(weight), [float(value) for value in sums]
    return curve


def _told_place(place: Place | None) -> list[Any] | None:
    if place is None:
        return None
    steps = [[step, _short(weight)] for step, weight in place.steps.items()]
    return [steps, place.alone, _told_delay(place.taken), _told_delay(place.paused)]


def _place(as_of: float, steps: list[Any], alone: float, taken: list[float], paused: list[float]) -> Place:
    place = Place()
    place.as_of, place.alone = as_of, float(alone)
    for step, weight in steps:
        known: Step = tuple((str(pool), int(number)) for pool, number in step)
        place.steps[known] = float(weight)
    place.taken, place.paused = Delay(*map(float, taken)), Delay(*map(float, paused))
    return place


def _told_delay(delay: Delay) -> list[float]:
    return [_short(delay.mean), _short(delay.squares), _short(delay.times)]


def _told_uses(state: State, digest: str) -> list[Any] | None:
    if digest not in state.index:
        return None
    uses = state.index[digest].uses
    return [uses.last_at, list(uses.seen)]


def _short(value: float) -> float:
    return float(f"{value:.7g}")

"""What was learned, as rows that a store keeps, so that a restart goes on with it.

A row is one class of episodes, or when a pool was asked for. Each says as of when it is: the leases that history has
tell what came after, and of what came before nothing is learned twice. A row that this version cannot read, or that is
of a time to come, is left out: what it held is learned anew.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import islice
from typing import Any

from pool.core.gaps import BINS, Class, Curve, Gaps

_CURVE, _ASKED = "curve", "asked"


def changed(gaps: Gaps, now: float, at_most: int) -> dict[str, str | None]:
    """Return rows of what has changed since it was last returned, the longest unsaved first; None for what is gone."""
    rows: dict[str, str | None] = {}
    for class_ in list(islice(gaps.unsaved, at_most)):
        del gaps.unsaved[class_]
        rows[_name(_CURVE, class_)] = _told(gaps.curves.get(class_), now)
    for pool in list(islice(gaps.unsaved_asks, max(0, at_most - len(rows)))):
        del gaps.unsaved_asks[pool]
        rows[_name(_ASKED, (pool,))] = json.dumps([now, gaps.asks_of(pool)])
    return rows


def again(gaps: Gaps, rows: Mapping[str, str | None]) -> None:
    """Note that rows could not be kept."""
    for name in rows:
        kind, *class_ = json.loads(name)
        if kind == _CURVE:
            gaps.unsaved[tuple(class_)] = None
        else:
            gaps.unsaved_asks[class_[0]] = None


def restore(gaps: Gaps, rows: Mapping[str, str], now: float) -> None:
    """Take over what was kept."""
    for name, told in rows.items():
        try:
            kind, *class_ = json.loads(name)
            if kind == _ASKED:
                as_of, times = json.loads(told)
                if as_of <= now:
                    gaps.recall_asks(str(class_[0]), [float(at) for at in times])
            elif kind == _CURVE and (curve := _curve(json.loads(told))) is not None and curve.as_of <= now:
                gaps.curves[tuple(class_)] = curve
        except (ValueError, TypeError, IndexError):
            continue


def _name(kind: str, class_: Class) -> str:
    return json.dumps([kind, *class_], separators=(",", ":"))


def _told(curve: Curve | None, now: float) -> str | None:
    if curve is None:
        return None
    numbers = [float(f"{value:.7g}") for value in curve.sums]
    return json.dumps([now, curve.since, curve.half_life_s, curve.weight, numbers], separators=(",", ":"))


def _curve(told: list[Any]) -> Curve | None:
    as_of, since, half_life_s, weight, sums = told
    if len(sums) != 2 * BINS or half_life_s <= 0:
        return None
    curve = Curve(float(since), float(half_life_s))
    curve.as_of, curve.weight, curve.sums = float(as_of), float(weight), [float(value) for value in sums]
    return curve

"""What was learned survives a restart: a snapshot tells it, and history what came after."""

from __future__ import annotations

import json

from policies.learned import Learned
from pool.core import snapshot
from pool.core.gaps import BINS, Gaps
from pool.core.model import Lease
from pool.core.recover import restore
from pool.core.state import State
from tests.core.test_learning import burst, told
from tests.kit import KEY, Core


def again(core: Core, rows: dict[str, str], ended: list[Lease]) -> State:
    """Return the state of a restart with these rows, and these leases as history."""
    state = core.state
    return restore(
        state.rules,
        core.now,
        generation=2,
        pools=state.pools.values(),
        clusters=state.clusters.values(),
        leases=state.leases.values(),
        ended=ended,
        learned=rows,
    )


def rows_of(core: Core) -> dict[str, str]:
    return {name: row for name, row in snapshot.changed(core.state, core.now, 10_000).items() if row is not None}


def figures(gaps: Gaps) -> dict[object, tuple[float, ...]]:
    return {class_: told(curve) for class_, curve in gaps.curves.items()}


def test_a_restart_goes_on_where_the_snapshot_and_what_came_after_it_end() -> None:
    core = Core(reclaim=Learned(300.0))
    burst(core, 30, 45.0)
    rows = rows_of(core)
    kept = len(core.state.ended)
    core.go(5.0)
    burst(core, 5, 100.0)
    recent = list(core.state.ended.values())[kept - 10 :]
    state = again(core, rows, recent)
    assert {class_: [round(n, 3) for n in values] for class_, values in figures(state.gaps).items()} == {
        class_: [round(n, 3) for n in values] for class_, values in figures(core.state.gaps).items()
    }
    assert state.gaps.asks_of(KEY.digest) == core.state.gaps.asks_of(KEY.digest)


def test_without_any_history_the_snapshot_alone_says_how_long_to_keep() -> None:
    core = Core(reclaim=Learned(60.0))
    burst(core, 60, 3_000.0)
    state = again(core, rows_of(core), [])
    assert figures(state.gaps).keys() == figures(core.state.gaps).keys()
    learner = Learned(60.0)
    for kind in ("fresh", "uncovered"):
        situation = core.state.gaps.situation(KEY.digest, kind, None, core.now)  # type: ignore[arg-type]
        was = learner.choose(situation, core.state.gaps.curves, core.now)
        assert learner.choose(situation, state.gaps.curves, core.now).keep_s == was.keep_s


def test_only_what_has_changed_is_told_and_some_at_a_time() -> None:
    core = Core(reclaim=Learned(300.0))
    burst(core, 3, 45.0)
    first = snapshot.changed(core.state, core.now, 2)
    assert len(first) == 2
    rest = rows_of(core)
    assert rest
    assert not first.keys() & rest.keys()
    assert not snapshot.changed(core.state, core.now, 10_000)
    snapshot.again(core.state, first)
    assert snapshot.changed(core.state, core.now, 10_000).keys() == first.keys()


def test_what_no_longer_counts_is_forgotten_and_deleted() -> None:
    core = Core(reclaim=Learned(300.0))
    burst(core, 3, 45.0)
    rows = rows_of(core)
    gaps = core.state.gaps
    gaps.forget(core.now + 100 * 604_800.0)
    assert not gaps.curves
    gone = snapshot.changed(core.state, core.now, 10_000)
    assert set(gone.values()) == {None}
    assert gone.keys() == {name for name in rows if name.startswith('["curve"')}


def test_rows_that_cannot_be_read_or_are_of_a_time_to_come_are_left_out() -> None:
    core = Core(reclaim=Learned(300.0))
    burst(core, 3, 45.0)
    rows = rows_of(core)
    state = Core(reclaim=Learned(300.0)).state
    gaps = state.gaps
    name = next(name for name in rows if name.startswith('["curve"'))
    for bad in ("", "{}", "[1]", json.dumps([1.0, 0.0, 7.0, 1.0, [0.0] * (2 * BINS - 2)]), '[1, 2, 3, 4, "x"]'):
        snapshot.restore(state, {name: bad, "no json": bad, '["asked"]': bad}, core.now)
    snapshot.restore(state, rows, core.now - 1.0)
    assert not gaps.curves
    assert not gaps.asks_of(KEY.digest)
    snapshot.restore(state, rows, core.now)
    assert gaps.curves

"""Once the last job of a replay has ended nothing stands ready for anybody: `reclaim` alone keeps what is idle."""

from __future__ import annotations

import pytest

from policies.histogram import Histogram
from policies.look_ahead import JustInTime
from policies.newsvendor import Newsvendor
from policies.next_use import NextUse
from policies.reclaim import FixedTTL, NeverKeep
from policies.sizing import FloorAndBuffer
from pool.core.key import ClusterKey, Shape
from pool.core.model import IDLE, LEASED, STARTING, Outcome
from pool.core.policy import Reclaim
from pool.replay import Job, Replay, Times
from pool.replay.run import WEEK_S
from pool.replay.timeline import Timeline
from pool.store.memory import MemoryStore
from tests.kit import make_rules

FIRST, SECOND = (ClusterKey(name, Shape(), "t") for name in ("first", "second"))
TIMES = Times((60.0,), charged=False)
# Every hour two steps of a workflow, ten minutes after one another; the last one has only its first.
JOBS = [
    Job(WEEK_S + 3_600.0 * n + at_s, 100.0, key, f"x-{n}")
    for n in range(40)
    for at_s, key in ((0.0, FIRST), (600.0, SECOND))
][:-1]
ENDS_S = WEEK_S + 39 * 3_600.0 + 100.0


def played(reclaim: Reclaim, jobs: list[Job] = JOBS, times: Times = TIMES, **rules: object) -> Replay:
    made = make_rules(reclaim=reclaim, max_starting=10**9, max_wait_s=1e9, **rules)
    replay = Replay(made, MemoryStore(keeps_books=False), times, ledger=Timeline)
    name = made.settings_for(FIRST).name
    if rules.get("floors"):
        # A window that is open, and one that would open later.
        replay.want({name: 1}, ENDS_S - 1_800.0)
        replay.want({name: 3}, ENDS_S + 1_800.0)
    replay.run(jobs)
    return replay


def idle(replay: Replay, from_s: float, until_s: float = float("inf")) -> float:
    """Return the idle seconds of a time."""
    assert isinstance(replay.ledger, Timeline)
    spells = (spell for spell in replay.ledger.spells if spell.state is IDLE)
    return sum(max(0.0, min(spell.ends_s, until_s) - max(spell.begins_s, from_s)) for spell in spells)


READY = {
    "newsvendor": {"sizing": Newsvendor(48 * 3_600.0)},
    "floor": {"sizing": FloorAndBuffer(min_idle=2)},
    "window": {"floors": {"default": 1}},
}
AHEAD = {"look_ahead": {"look_ahead": JustInTime(7_200.0)}, "next_use": {"prewarm": NextUse(7_200.0)}}


@pytest.mark.parametrize("ready", READY.values(), ids=READY.keys())
def test_nothing_stands_ready_after_the_last_job(ready: dict[str, object]) -> None:
    replay = played(NeverKeep(), **ready)
    assert idle(replay, 0.0, ENDS_S) > 0.0, "before that something stands ready"
    # The last job may have waited for its start; a start that was begun is done a minute later, and stops.
    assert idle(replay, ENDS_S + 60.0) == 0.0
    assert not replay.state.clusters


@pytest.mark.parametrize("ahead", AHEAD.values(), ids=AHEAD.keys())
def test_nothing_is_started_for_who_was_expected_after_the_last_job(ahead: dict[str, object]) -> None:
    replay = played(FixedTTL(1_200.0, 0.0), **ahead)
    assert isinstance(replay.ledger, Timeline)
    starts = [spell.begins_s for spell in replay.ledger.spells if spell.state is STARTING]
    alone = [spell for spell in played(FixedTTL(1_200.0, 0.0)).ledger.spells if spell.state is STARTING]  # type: ignore[attr-defined]
    assert replay.ledger.total().outcomes[Outcome.HIT] > len(JOBS) - len(alone), "before that some are"
    assert max(starts) < max(spell.ends_s for spell in replay.ledger.spells if spell.state is LEASED)


def test_what_stood_ready_is_kept_on_as_reclaim_says() -> None:
    # Both start at once: one is used from 60 to 160 s, the other one stands ready from 60 s on.
    replay = played(FixedTTL(900.0, 0.0), [Job(WEEK_S, 100.0, FIRST)], sizing=FloorAndBuffer(min_idle=1))
    assert idle(replay, WEEK_S + 160.0) == 900.0 + 800.0


@pytest.mark.parametrize("reclaim", [FixedTTL(7_200.0, 0.0), Histogram()], ids=["fixed_ttl", "histogram"])
def test_where_reclaim_alone_keeps_clusters_nothing_is_decided_at_the_end(
    monkeypatch: pytest.MonkeyPatch, reclaim: Reclaim
) -> None:
    found = played(reclaim)
    monkeypatch.setattr(Replay, "_nobody_comes", lambda self, now: None)
    before = played(reclaim)
    assert isinstance(found.ledger, Timeline)
    assert isinstance(before.ledger, Timeline)
    assert repr(found.ledger.spells) == repr(before.ledger.spells)
    assert idle(found, ENDS_S) > 0.0


def test_who_waits_for_a_start_long_after_the_last_lease_is_served() -> None:
    replay = played(NeverKeep(), [Job(WEEK_S, 10.0, FIRST), Job(WEEK_S + 300_000.0, 10.0, FIRST)])
    assert replay.ledger.total().leases == 2

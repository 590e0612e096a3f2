"""The log has one sentence for each decision that a person would ask about."""

from __future__ import annotations

from typing import Any

import pytest
from structlog.testing import CapturingLogger

from pool.config import build_rules, load_text
from pool.core.events import Cordon, Degraded, Listing, Lost, Release, Renew, Revoke, Seen, StartFailed, Stopped
from pool.core.key import key_from
from pool.core.model import Mode
from pool.core.reasons import Reason
from pool.journal import Journal
from tests.by_hand import KEY, Core

C1 = f"c-{KEY.digest}-1"


class Told(Core):
    def __init__(self, *, debug: bool = False) -> None:
        quarantine = 60 if debug else 0
        super().__init__(
            f"pools: [{{name: small, idle_ttl: 600, idle_jitter: 0, breaker_failures: 2, quarantine: {quarantine}}}]"
        )
        self.logger = CapturingLogger()
        self.journal = Journal(lambda: self.state, debug=debug, logger=self.logger)
        self.observers.append(self.journal.observe)

    @property
    def lines(self) -> list[tuple[int, str, dict[str, Any]]]:
        return [(call.args[0], call.args[1], call.kwargs) for call in self.logger.calls]

    def last(self) -> tuple[int, str, dict[str, Any]]:
        return self.lines[-1]


INFO, WARNING, DEBUG = 20, 30, 10


@pytest.fixture
def core() -> Told:
    return Told()


def leased(core: Told) -> None:
    core.acquire("l-1")
    core.after(8.1)
    core.started()


def test_a_cold_grant_is_three_sentences(core: Told) -> None:
    leased(core)
    assert [(level, text) for level, text, _ in core.lines] == [
        (INFO, f"starting {C1}: a waiter needed it"),
        (INFO, f"{C1} is ready after 8.1 s"),
        (INFO, f"granted {C1} to holder of l-1 after 8.1 s (cold): the pool has no cluster yet"),
    ]
    _, _, fields = core.last()
    assert fields["lease"] == "l-1"
    assert fields["pool"] == "small"
    assert fields["reason"] is Reason.NO_CLUSTER
    assert fields["waited_s"] == 8.1


def test_hits_and_clean_releases_are_told_at_debug_only(core: Told) -> None:
    for one, extra in ((core, 0), (Told(debug=True), 2)):
        leased(one)
        before = len(one.lines)
        one(Release("l-1", 1))
        one.reset()
        one.acquire("l-2")
        assert len(one.lines) - before == extra
        assert all(level == DEBUG for level, _, _ in one.lines[before:])


def test_an_idle_cluster_is_stopped_with_the_arithmetic(core: Told) -> None:
    leased(core)
    core(Release("l-1", 1))
    core.reset()
    core.after(613)
    assert core.last()[:2] == (INFO, f"stopping {C1}: idle for 613 s, over its 600 s")
    assert core.last()[2]["reason"] is Reason.IDLE_TTL


def test_an_expiry_names_lease_holder_cluster_and_cause(core: Told) -> None:
    leased(core)
    core(Renew("l-1", 1))
    core.after(31)
    (level, text, fields), (also, stop, _) = core.lines[-2:]
    assert (level, text) == (WARNING, f"lease l-1 of holder of l-1 on {C1} ended: not renewed for 30 s")
    assert fields["reason"] is Reason.EXPIRED
    assert (also, stop) == (WARNING, f"stopping {C1}: lease l-1 ended: The holder stopped renewing")


def test_a_revoke_is_told_with_what_the_operator_said(core: Told) -> None:
    leased(core)
    core(Revoke("l-1", "the node is needed"))
    assert "ended: the node is needed" in core.lines[-2][1]


def test_a_lost_cluster_is_named_once_in_a_sentence(core: Told) -> None:
    leased(core)
    core(Lost(C1, "boot", Reason.PROCESS_GONE, f"{C1}: head exited with code 1: raylet was killed by SIGKILL"))
    said = "head exited with code 1: raylet was killed by SIGKILL"
    assert [text for level, text, _ in core.lines if level == WARNING] == [
        f"lease l-1 of holder of l-1 on {C1} ended: {said}",
        f"stopping {C1}: {said}",
    ]


def test_failed_starts_and_the_breaker_are_told(core: Told) -> None:
    core.acquire("l-1", wait_s=600)
    core(StartFailed(C1, Reason.START_FAILED, "No such image: trainer:7"))
    assert core.last()[:2] == (WARNING, f"{C1} could not be started: no such image: trainer:7")
    core(Stopped(C1))
    core.after(2)
    core(StartFailed(f"c-{KEY.digest}-2", Reason.START_FAILED, "the disk is full"))
    text = next(text for level, text, _ in core.lines if level == WARNING and "paused" in text)
    assert text == (
        f"starts of pool small ({KEY.digest}) are paused for 60 s: 2 failed in a row, the last one: the disk is full"
    )


def test_a_quarantine_is_told() -> None:
    core = Told(debug=True)
    leased(core)
    core(Release("l-1", 1))
    core.reset(clean=False)
    level, text, fields = core.last()
    assert (level, text) == (WARNING, f"{C1} is quarantined: an actor is left")
    assert (fields["lease"], fields["holder"], fields["left"]) == ("l-1", "holder of l-1", ["an actor is left"])


def test_what_reconcile_found_is_told(core: Told) -> None:
    core.acquire("l-1")
    core.now += 1
    core(Listing(core.now, True, (Seen("c-stranger-1"),)))
    assert (WARNING, "reconcile found the backend and the pool to differ: 1 orphan, 1 start again") in [
        line[:2] for line in core.lines
    ]


def test_an_eviction_is_told_with_its_reason() -> None:
    core = Told()
    core.state.set_rules(build_rules(load_text("ceiling: {clusters: 1}", "test"), {}))
    leased(core)
    core(Release("l-1", 1))
    core.reset()
    core.after(1)
    core.acquire("l-2", key=key_from({"image": "other", "tenant": "p/d"}))
    assert core.last()[2]["reason"] is Reason.EVICTED
    assert core.last()[1].startswith(f"stopping {C1}: ")


def test_a_refused_acquire_is_told_once(core: Told) -> None:
    core.acquire("l-1", mode=Mode.WARM_ONLY)
    core.acquire("l-2", wait_s=5)
    core.after(5)
    refused = [text for _, text, _ in core.lines if text.startswith("refused")]
    assert len(refused) == 2
    assert refused[1].startswith("refused holder of l-2: nothing came free within 5 s")


def test_what_an_operator_asked_is_told(core: Told) -> None:
    leased(core)
    core(Cordon(C1))
    assert core.last()[:2] == (INFO, f"on request: {C1} cordoned")


def test_a_leased_cluster_that_was_edited_is_told_at_once_and_when_it_is_stopped(core: Told) -> None:
    leased(core)
    core(Degraded(C1, core.state.clusters[C1].boot_id, "c: somebody changed it.", lasting=True))
    assert core.last()[:2] == (WARNING, f"{C1} will be stopped when its lease ends: c: somebody changed it")
    core(Release("l-1", 1))
    assert core.last()[1] == f"stopping {C1}: c: somebody changed it"

"""News of a lease reaches its holder at once, however seldom it renews."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from pool.client import watching


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    monkeypatch.setattr(watching, "_AFTER_S", 0.05)


class News:
    """Holds every call until there is news."""

    def __init__(self, fake) -> None:
        self.fake = fake
        self.changed: set[str] = set()
        fake.news = self.answer

    async def answer(self, body):
        until = time.monotonic() + body["wait_s"]
        named = {item["lease_id"] for item in body["leases"]}
        while not named & self.changed and time.monotonic() < until:  # noqa: ASYNC110 - a test's thread changes it
            await asyncio.sleep(0.01)
        return {"changed": sorted(named & self.changed)}

    def asked(self, count: int) -> list:
        """Return the calls once there are so many."""
        with self.fake._changed:
            assert self.fake._changed.wait_for(lambda: len(self.fake.watches) >= count, 10)
            return list(self.fake.watches)


@pytest.fixture
def news(fake) -> News:
    return News(fake)


def test_a_loss_is_told_at_once_though_the_next_renewal_is_far_away(fake, news, client, wanted):
    fake.acquires = [fake.granted(ttl_s=600.0, remaining_s=600.0)]
    with client.lease(wanted) as lease:
        fake.await_calls("/v1/renew", 1)
        (asked,) = news.asked(1)
        assert asked["leases"] == [{"lease_id": "l-1", "token": "the-lease-secret", "epoch": 3, "hints": []}]
        fake.renewal = {"status": "ended", "reason": "cluster_lost", "explanation": "Its head is gone."}
        news.changed = {"l-1"}
        assert lease.wait_lost(5)
    assert len(fake.bodies("/v1/renew")) == 2


def test_a_hint_is_told_at_once_and_then_known(fake, news, client, wanted):
    with client.lease(wanted) as lease:
        news.asked(1)
        told = threading.Event()
        lease.on_change(lambda change: told.set())
        fake.renewal = {"status": "renewed", "remaining_s": 30.0, "hints": ["degraded"]}
        news.changed = {"l-1"}
        assert told.wait(5)
        news.changed = set()
        asked = news.asked(len(fake.watches) + 1)
        assert asked[-1]["leases"][0]["hints"] == ["degraded"]


def test_news_that_no_renewal_brings_is_not_asked_for_without_a_pause(fake, news, client, wanted, monkeypatch):
    monkeypatch.setattr(watching, "_HEARD_S", 0.2)
    with client.lease(wanted):
        news.asked(1)
        news.changed = {"l-1"}
        time.sleep(1.1)
        assert 2 <= len(fake.watches) <= 8


def test_a_lease_that_comes_later_is_watched_beside_the_others(fake, news, client, wanted, monkeypatch):
    fake.acquires = [fake.granted("l-1"), fake.granted("l-2")]
    with client.lease(wanted):
        news.asked(1)
        with client.lease(wanted) as second:
            asked = news.asked(2)
            assert [[item["lease_id"] for item in body["leases"]] for body in asked] == [["l-1"], ["l-2"]]
            fake.renewal = {"status": "ended", "reason": "revoked"}
            news.changed = {"l-2"}
            assert second.wait_lost(5)


def test_the_oldest_call_takes_the_leases_of_the_others_along(fake, news, client, wanted, monkeypatch):
    monkeypatch.setattr(watching, "_WAIT_S", 1.0)
    monkeypatch.setattr(watching, "_MORE_S", 0.5)
    fake.acquires = [fake.granted("l-1"), fake.granted("l-2")]
    with client.lease(wanted):
        news.asked(1)
        with client.lease(wanted):
            until = time.monotonic() + 10
            while [item["lease_id"] for item in fake.watches[-1]["leases"]] != ["l-1", "l-2"]:
                assert time.monotonic() < until
                time.sleep(0.01)
            watching_now = client._renewer._watching
            while len(watching_now._threads) > 1:
                assert time.monotonic() < until
                time.sleep(0.01)


def test_a_daemon_that_tells_no_news_is_left_alone_and_renewals_tell(fake, client, wanted):
    fake.acquires = [fake.granted(ttl_s=1.5, remaining_s=1.5)]
    fake.renewal = {"status": "renewed", "remaining_s": 1.5, "hints": []}
    with client.lease(wanted) as lease:
        fake.await_calls("/v1/renew", 3)
        fake.renewal = {"status": "ended", "reason": "revoked"}
        assert lease.wait_lost(5)
    assert len(fake.watches) == 1


def test_a_daemon_that_does_not_wait_is_not_asked_without_a_pause(fake, client, wanted):
    fake.news = {"changed": []}
    with client.lease(wanted):
        time.sleep(1.5)
    assert 1 <= len(fake.watches) <= 3


def test_a_daemon_that_comes_back_is_asked_again(fake, news, client, wanted):
    with client.lease(wanted):
        news.asked(1)
        fake.stop()
        fake.start()
        news.asked(2)


def test_a_lease_that_is_over_at_once_costs_no_connection(fake, news, client, wanted, monkeypatch):
    monkeypatch.setattr(watching, "_AFTER_S", 0.5)
    for _ in range(3):
        with client.lease(wanted):
            pass
    time.sleep(1.0)
    assert fake.watches == []

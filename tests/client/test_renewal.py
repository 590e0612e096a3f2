from __future__ import annotations

import threading
import time
import types

import pytest

from pool.client import AsyncClient, Client, LeaseChange, LeaseLost
from pool.core.reasons import Reason

SHORT = {"ttl_s": 1.5, "remaining_s": 1.5}


@pytest.fixture
def short(fake):
    """A daemon whose leases last 1.5 s."""
    fake.acquires = [fake.granted(**SHORT)]
    fake.renewal = {"status": "renewed", "remaining_s": 1.5, "hints": []}
    return fake


class FakeRay(types.ModuleType):
    def __init__(self, address: str) -> None:
        super().__init__("ray")
        self.util = types.SimpleNamespace()
        self.address = address
        self.down = threading.Event()

    def is_initialized(self) -> bool:
        return not self.down.is_set()

    def get_runtime_context(self):
        return types.SimpleNamespace(gcs_address=self.address)

    def shutdown(self) -> None:
        self.down.set()


@pytest.fixture
def ray(monkeypatch):
    def make(address: str = "127.0.0.1:6399") -> FakeRay:
        module = FakeRay(address)
        monkeypatch.setitem(__import__("sys").modules, "ray", module)
        return module

    return make


def collect(lease) -> tuple[list[LeaseChange], threading.Event]:
    changes: list[LeaseChange] = []
    told = threading.Event()

    def note(change: LeaseChange) -> None:
        changes.append(change)
        told.set()

    lease.on_change(note)
    return changes, told


def test_a_body_that_blocks_its_thread_keeps_its_lease(short, client, wanted):
    with client.lease(wanted) as lease:
        time.sleep(3.2)  # longer than two ttls
        lease.check()
        assert lease.remaining_s > 0
    assert len(short.bodies("/v1/renew")) >= 4


async def test_a_body_that_blocks_its_event_loop_keeps_its_lease(short, aclient, wanted):
    async with aclient.lease(wanted) as lease:
        time.sleep(3.2)  # noqa: ASYNC251 - blocking is what is tested
        lease.check()


def test_leases_of_several_clients_are_renewed_in_one_call(fake, client, wanted):
    fake.acquires = [fake.granted("l-1", ttl_s=3.0), fake.granted("l-2", ttl_s=3.0)]
    fake.renewal = {"status": "renewed", "remaining_s": 3.0, "hints": []}
    with Client(fake.url, fake.token) as other, client.lease(wanted):
        # As far apart as they can be: half of the interval at which each is renewed.
        time.sleep(0.5)
        with other.lease(wanted):
            for count in range(2, 20):
                together = [len(body["leases"]) for body in fake.await_calls("/v1/renew", count)]
                if 2 in together:
                    return
    pytest.fail(f"never renewed together: {together}")


@pytest.mark.parametrize("reason", ["cluster_lost", "revoked", "expired", "max_lease", "unknown_lease", "wrong_token"])
def test_the_body_is_told_that_its_lease_is_over_and_why(short, client, wanted, ray, reason):
    module = ray()
    with client.lease(wanted) as lease:
        changes, told = collect(lease)
        short.renewal = {"status": "ended", "reason": reason, "explanation": f"It was {reason}."}
        assert lease.wait_lost(10)
        assert told.wait(10)
        assert changes == [LeaseChange("lost", Reason(reason), f"It was {reason}.")]
        assert lease.state == "lost"
        assert lease.remaining_s == 0
        with pytest.raises(LeaseLost, match=f"It was {reason}.") as caught:
            lease.check()
        assert caught.value.reason == reason
        assert module.down.is_set()
        late, told_late = collect(lease)
        assert told_late.is_set()
        assert late == changes
    assert lease.state == "lost"


async def test_an_async_body_can_wait_for_the_loss(short, aclient, wanted):
    async with aclient.lease(wanted) as lease:
        assert not await lease.wait_lost(0.01)
        short.renewal = {"status": "ended", "reason": "revoked"}
        assert await lease.wait_lost(10)


def test_wait_lost_ends_without_a_loss_when_the_lease_is_released(fake, client, wanted):
    lease = client.acquire(wanted)
    releasing = threading.Timer(0.05, lease.release)
    releasing.start()
    assert not lease.wait_lost(10)
    releasing.join()


def test_a_hint_is_told_once_and_the_lease_goes_on(short, client, wanted, ray):
    module = ray()
    with client.lease(wanted) as lease:
        changes, told = collect(lease)
        short.renewal = {"status": "renewed", "remaining_s": 1.5, "hints": ["drain"]}
        assert told.wait(10)
        short.await_calls("/v1/renew", len(short.bodies("/v1/renew")) + 2)
        assert [change.what for change in changes] == ["drain"]
        assert lease.hints == ("drain",)
        assert not module.down.is_set()
        lease.check()


def test_a_callback_that_fails_or_hangs_keeps_no_other_from_being_told_and_no_lease_from_being_renewed(
    short, client, wanted, caplog
):
    hang = threading.Event()
    with client.lease(wanted) as lease:
        _, told = collect(lease)

        def fail(change):
            raise RuntimeError("callback")

        lease._callbacks.insert(0, fail)
        lease.on_change(lambda change: hang.wait(20))
        short.renewal = {"status": "renewed", "remaining_s": 1.5, "hints": ["degraded"]}
        assert told.wait(10)
        before = len(short.bodies("/v1/renew"))
        short.await_calls("/v1/renew", before + 3)
        hang.set()
    assert "callback" in caplog.text


def test_a_restarted_daemon_finds_the_lease_renewed(fake, client, wanted, ray, renew_now):
    module = ray()
    with client.lease(wanted) as lease:
        fake.await_calls("/v1/renew", 1)
        fake.stop()
        renew_now(client)
        (entry,) = client._renewer._leases.values()
        while entry.retry is None:  # until a renewal has failed
            time.sleep(0.01)
        lease.check()
        fake.start()
        fake.await_calls("/v1/renew", 2, within_s=20)
        while entry.retry is not None:
            time.sleep(0.01)
        assert lease.state == "active"
        assert not module.down.is_set()
    assert fake.paths()[-1] == "/v1/leases/l-1/release"


@pytest.mark.parametrize("how", ["stopped", "not ready", "token refused"])
def test_a_lease_whose_deadline_passed_unanswered_is_given_up(short, client, wanted, ray, how):
    module = ray()
    with client.lease(wanted) as lease:
        changes, told = collect(lease)
        short.await_calls("/v1/renew", 1)
        if how == "stopped":
            short.stop()
        elif how == "not ready":
            short.renewal = short.problem(503, "not_ready")
        else:
            short.tokens = set()
        assert lease.wait_lost(10)
        assert lease.state == "unreachable"
        assert told.wait(10)
        assert [change.what for change in changes] == ["unreachable"]
        assert changes[0].over
        assert module.down.is_set()
        with pytest.raises(LeaseLost) as caught:
            lease.check()
        assert caught.value.reason is Reason.EXPIRED
        if how == "stopped":
            short.start()  # so that the release is quick


def test_a_daemon_that_hangs_is_given_up_at_the_deadline(short, client, wanted):
    hang = threading.Event()
    with client.lease(wanted) as lease:
        short.await_calls("/v1/renew", 1)
        short._loop.call_soon_threadsafe(hang.wait, 5)
        assert lease.wait_lost(3)
        assert lease.state == "unreachable"
        hang.set()


def test_ray_that_is_connected_elsewhere_is_left_alone(short, client, wanted, ray):
    module = ray("10.9.9.9:6399")
    with client.lease(wanted) as lease:
        _, told = collect(lease)
        short.renewal = {"status": "ended", "reason": "revoked"}
        assert told.wait(10)
    assert not module.down.is_set()


def test_ray_is_disconnected_before_the_release(fake, client, wanted, ray):
    module = ray("localhost:6399")
    down_at_release = []

    def release(body):
        down_at_release.append(module.down.is_set())
        return {"status": "ended", "lease_id": "l-1", "reason": "released"}

    fake.release = release
    with client.lease(wanted):
        assert not module.down.is_set()
    assert down_at_release == [True]


def test_a_rotated_token_file_is_read_again(short, wanted, tmp_path):
    file = tmp_path / "token"
    file.write_text(short.token + "\n")
    with Client(short.url, token_file=file) as client, client.lease(wanted) as lease:
        file.write_text("another\n")
        short.tokens = {"another"}
        before = len(short.bodies("/v1/renew"))
        short.await_calls("/v1/renew", before + 2)
        lease.check()


async def test_an_async_client_works_in_one_loop_after_another(fake, wanted):
    import asyncio

    client = AsyncClient(fake.url, fake.token)

    async def once():
        async with client, client.lease(wanted):
            pass

    await once()
    await asyncio.to_thread(lambda: asyncio.run(once()))
    assert len(fake.bodies("/v1/leases/l-1/release")) == 2


def test_a_body_that_ray_ended_because_its_lease_was_lost_does_not_pass_for_success(short, client, wanted):
    def body(lease):
        short.renewal = {"status": "ended", "reason": "revoked", "explanation": "An operator did it."}
        assert lease.wait_lost(10)
        raise SystemExit(0)

    with pytest.raises(LeaseLost, match="An operator did it"), client.lease(wanted) as lease:
        body(lease)


def test_a_body_that_fails_after_the_loss_says_so(short, client, wanted):
    def body(lease):
        short.renewal = {"status": "ended", "reason": "revoked", "explanation": "An operator did it."}
        assert lease.wait_lost(10)
        raise ConnectionError("what Ray says")

    with pytest.raises(ConnectionError, match="what Ray says") as caught, client.lease(wanted) as lease:
        body(lease)
    assert caught.value.__notes__ == ["Lease l-1 was lost before this: An operator did it."]


def test_an_exit_of_the_bodys_own_stays_what_it_is(client, wanted):
    with pytest.raises(SystemExit) as caught, client.lease(wanted):
        raise SystemExit(0)
    assert caught.value.code == 0


def test_two_who_share_a_lease_are_both_renewed_and_one_can_forget_it(short, client, wanted):
    with client.lease(wanted, request_id="shared") as lease:
        other = client.acquire(wanted)
        assert other.id == lease.id
        for _ in range(2):
            short.await_calls("/v1/renew", len(short.bodies("/v1/renew")) + 2)
        lease.check()
        other.check()
        client.forget(other)
        assert client._renewer.leases() == [lease]
    assert len(short.bodies("/v1/leases/l-1/release")) == 1

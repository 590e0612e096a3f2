from __future__ import annotations

import pytest

import pool
from pool.client import (
    AcquireRefused,
    ClientError,
    DaemonFault,
    InvalidRequest,
    LeaseEnded,
    NotAllowed,
    Progress,
    QueueFull,
    RequestIdUsed,
    ShapeTooLarge,
    Unreachable,
    WaitTimeout,
    WarmMiss,
)
from pool.core.reasons import Reason


def test_a_hit_is_a_lease_with_what_its_holder_needs(fake, client, wanted):
    with client.lease(wanted) as lease:
        assert (lease.id, lease.epoch, lease.outcome, lease.reason) == ("l-1", 3, "hit", None)
        assert (lease.pool, lease.group, lease.group_was_here, lease.resident) == ("abc", "g", True, ("features",))
        assert lease.state == "active"
        assert 20 < lease.remaining_s <= 30
        assert lease.environment() == {
            "RAY_ADDRESS": "127.0.0.1:6399",
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": "the-cluster-secret",
        }
        assert lease.unset_environment == ("RAY_AUTH_TOKEN_PATH",)
        lease.check()
    assert lease.state == "ended"
    with pytest.raises(LeaseEnded):
        lease.check()
    (release,) = fake.bodies("/v1/leases/l-1/release")
    assert release == {"token": "the-lease-secret", "epoch": 3}


def test_what_is_asked_for_is_sent(fake, client):
    shape = {"head": {"cpu": 2}, "workers": [{"name": "w", "replicas": 2, "memory": "1Gi"}]}
    with client.lease(
        image="img",
        tenant="p/d",
        holder="h",
        shape=shape,
        group="g",
        priority=5,
        mode="wait",
        ttl_s=9,
        request_id="r-1",
    ) as lease:
        lease.release(hold_s=60)
    (asked,) = fake.bodies("/v1/leases")
    assert asked["request_id"] == "r-1"
    assert asked["key"]["shape"]["workers"] == [{"name": "w", "replicas": 2, "memory": "1Gi"}]
    assert asked["key"]["shape"]["head"] == {"cpu": 2}
    assert (asked["priority"], asked["mode"], asked["ttl_s"], asked["group"]) == (5, "wait", 9, "g")
    (released,) = fake.bodies("/v1/leases/l-1/release")
    assert released["hold_s"] == 60


def test_a_grant_is_claimed_by_a_renewal_at_once(fake, client, wanted):
    with client.lease(wanted):
        (renewal,) = fake.await_calls("/v1/renew", 1)
    assert renewal["leases"] == [{"lease_id": "l-1", "token": "the-lease-secret", "epoch": 3}]


def test_queued_then_granted_is_told_as_progress(fake, client, wanted):
    cold = fake.granted(outcome="cold", reason="no_cluster", explanation="The pool has no cluster yet.", waited_s=9.8)
    late = fake.queued(position=1, phase="checking", expected_s=0.0)
    fake.acquires = [fake.queued(), fake.queued(position=1, phase="starting: waiting for the dashboard"), late, cold]
    seen: list[Progress] = []
    with client.lease(wanted, progress=seen.append) as lease:
        assert lease.reason is Reason.NO_CLUSTER
    assert [str(progress) for progress in seen] == [
        "queued (position 2: every warm cluster is leased, expected in 12 s)",
        "starting: waiting for the dashboard (expected in 12 s)",
        "checking (expected any moment)",
        "granted c-abc-1 in 9.8 s: cold (the pool has no cluster yet)",
    ]
    asked = fake.bodies("/v1/leases")
    assert len({body["request_id"] for body in asked}) == 1
    assert [body.get("wait_s", 0) > 0 for body in asked] == [False, True, True, True]


@pytest.mark.parametrize(
    ("status", "reason", "kind"),
    [
        (400, "invalid_request", InvalidRequest),
        (422, "invalid_key", InvalidRequest),
        (422, "shape_too_large", ShapeTooLarge),
        (403, "not_allowed", NotAllowed),
        (409, "warm_only_miss", WarmMiss),
        (408, "wait_timeout", WaitTimeout),
        (429, "queue_full", QueueFull),
        (410, "cancelled", AcquireRefused),
        (409, "request_mismatch", RequestIdUsed),
        (409, "pool_cordoned", AcquireRefused),
        (503, "breaker_open", AcquireRefused),
        (404, "unknown_path", DaemonFault),
        (500, "internal", DaemonFault),
    ],
)
def test_each_refusal_has_its_error(fake, client, wanted, status, reason, kind):
    fake.acquires = [fake.problem(status, reason)]
    with pytest.raises(kind) as caught, client.lease(wanted):
        pass
    assert type(caught.value) is kind
    assert caught.value.reason == reason
    assert str(caught.value) == f"It is {reason}. Do the other thing."
    assert fake.paths() == ["/v1/leases"]


def test_a_wrong_token_is_not_allowed(fake, client, wanted):
    fake.tokens = {"another"}
    with pytest.raises(NotAllowed) as caught, client.lease(wanted):
        pass
    assert caught.value.reason is Reason.UNAUTHENTICATED
    assert "WARMPOOL_TOKEN_FILE" in str(caught.value), "not a header: who holds a lease writes none"


def test_what_is_no_daemon_is_told_so(fake, client, wanted):
    fake.acquires = [{"hello": "world"}]
    with pytest.raises(DaemonFault, match="not a Warmpool daemon"), client.lease(wanted):
        pass


def test_a_waiter_outlasts_what_answers_in_the_place_of_a_daemon_that_is_replaced(fake, client, wanted):
    fake.acquires = [fake.queued(), (404, {"error": "no backend"}), (403, {}), fake.granted()]
    with client.lease(wanted) as lease:
        assert lease.id == "l-1"
    assert len({body["request_id"] for body in fake.bodies("/v1/leases")}) == 1


def test_what_was_never_a_daemon_is_told_so_at_once(fake, client, wanted):
    fake.acquires = [(404, {"error": "no backend"})]
    with pytest.raises(DaemonFault, match="not a Warmpool daemon: it answered 404"), client.lease(wanted):
        pass
    assert len(fake.bodies("/v1/leases")) == 1


def test_a_release_that_somebody_else_answered_is_tried_again(fake, client, wanted):
    ended, answers = fake.release, [(404, {"error": "no backend"})]
    fake.release = lambda body: answers.pop() if answers else ended
    with client.lease(wanted):
        pass
    assert len(fake.bodies("/v1/leases/l-1/release")) == 2


def test_a_reason_of_a_newer_daemon_does_not_lose_the_grant(fake, client, wanted):
    fake.acquires = [fake.granted(reason="phase_of_the_moon", outcome="cold", new_field=[{"reason": 1}])]
    with client.lease(wanted) as lease:
        assert lease.reason is Reason.INTERNAL


def test_an_ended_request_id_of_the_callers_own_is_refused(fake, client, wanted):
    fake.acquires = [fake.problem(410, "request_ended")]
    with pytest.raises(RequestIdUsed), client.lease(wanted, request_id="mine"):
        pass
    assert len(fake.bodies("/v1/leases")) == 1


def test_a_request_that_the_daemon_gave_up_is_begun_anew(fake, client, wanted):
    fake.acquires = [fake.queued(), fake.problem(410, "waiter_gone"), fake.granted("l-2")]
    with client.lease(wanted) as lease:
        assert lease.id == "l-2"
    first, second, third = (body["request_id"] for body in fake.bodies("/v1/leases"))
    assert first == second != third


def test_a_daemon_that_is_not_ready_is_asked_again(fake, client, wanted):
    fake.acquires = [fake.problem(503, "not_ready", retry_after=0), (502, {}), fake.granted()]
    with client.lease(wanted) as lease:
        assert lease.state == "active"
    assert len({body["request_id"] for body in fake.bodies("/v1/leases")}) == 1


def test_a_daemon_that_cannot_answer_is_told_as_progress(fake, client, wanted):
    fake.acquires = [fake.queued(), fake.problem(503, "store_failed"), fake.granted()]
    seen: list[Progress] = []
    with client.lease(wanted, progress=seen.append):
        pass
    assert [progress.phase for progress in seen] == ["queued", "unanswered", "granted"]
    assert str(seen[1]).startswith("the daemon cannot answer: ")
    assert "store_failed" in str(seen[1])
    assert "trying for" in str(seen[1])


def test_a_daemon_that_never_becomes_ready_is_unreachable_in_the_end(fake, client, wanted):
    fake.acquires = [fake.problem(503, "store_failed")]
    with pytest.raises(Unreachable, match="It is store_failed"), client.lease(wanted, timeout_s=0.3):
        pass


def test_a_daemon_that_is_not_there_is_unreachable_within_the_connect_timeout(fake, wanted):
    fake.stop()
    with (
        pool.client.Client(fake.url, fake.token, connect_timeout_s=0.3) as client,
        pytest.raises(
            Unreachable, match=r"No daemon answers at http://127\.0\.0\.1:\d+: connection refused\. .*warmpool serve"
        ),
        client.lease(wanted, timeout_s=600),
    ):
        pass


def test_a_daemon_that_comes_back_while_an_acquire_waits_grants_it(fake, client, wanted):
    stopped = []

    def stop_and_come_back(body):
        fake._loop.call_soon(lambda: stopped.append(fake._loop.create_task(restart())))
        return fake.queued()

    async def restart():
        await fake._stop()
        await fake._start()

    fake.acquires = [stop_and_come_back, fake.granted()]
    with client.lease(wanted) as lease:
        assert lease.state == "active"
    assert len({body["request_id"] for body in fake.bodies("/v1/leases")}) == 1
    assert stopped


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"holder": ""}, "holder: String should have at least 1 character"),
        ({"shape": {"head": {"cpus": 1}}}, "shape.head.cpus: Extra inputs are not permitted"),
        ({"shape": {"head": {"cpu": -1}}}, "shape.head.cpu: "),
        ({"shape": 7}, "shape: 7 is not a mapping"),
        ({"mode": "now"}, "mode: 'now' is not a mode; there are warm_only, wait, wait_or_create"),
        ({"ttl_s": 0}, "ttl_s: "),
        ({"timeout": 5}, "timeout: a lease request has no such field"),
    ],
)
def test_a_wrong_field_is_named_and_nothing_is_sent(fake, client, wanted, fields, message):
    with pytest.raises(InvalidRequest) as caught, client.lease(wanted, **fields):
        pass
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)
    assert fake.calls == []


def test_a_missing_field_is_named(client):
    with pytest.raises(InvalidRequest, match="tenant: is missing"), client.lease(image="local", holder="me"):
        pass


def test_secrets_are_in_no_repr_and_no_log(fake, client, wanted, caplog):
    caplog.set_level("DEBUG")
    with client.lease(wanted) as lease:
        fake.await_calls("/v1/renew", 1)
        shown = " ".join(map(repr, [client, lease, lease.cluster, client._endpoint, lease._proof]))
    fake.acquires = [{"status": "granted", "token": "the-lease-secret"}]
    with pytest.raises(ClientError) as caught:
        client.acquire(wanted)
    error: BaseException | None = caught.value
    while error is not None:
        shown += repr(error) + str(error)
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    for secret in fake.secrets:
        assert secret not in shown + caplog.text


async def test_the_async_client_does_the_same(fake, aclient, wanted):
    fake.acquires = [fake.queued(), fake.granted()]
    seen: list[Progress] = []
    async with aclient.lease(wanted, progress=seen.append) as lease:
        assert lease.state == "active"
        fake.await_calls("/v1/renew", 1)
    assert [progress.phase for progress in seen] == ["queued", "granted"]
    assert lease.state == "ended"
    assert len(fake.bodies("/v1/leases/l-1/release")) == 1


async def test_the_async_client_raises_the_same_errors(fake, aclient, wanted):
    fake.acquires = [fake.problem(409, "warm_only_miss")]
    with pytest.raises(WarmMiss):
        await aclient.acquire(wanted)


@pytest.mark.usefixtures("environment")
def test_pool_lease_speaks_to_the_daemon_of_the_environment(fake):
    with pool.lease(image="local", tenant="p/d", holder="me") as lease:
        assert lease.cluster.id == "c-abc-1"
    # The first renewal may still be on its way.
    assert "/v1/leases/l-1/release" in fake.paths()[-2:]


@pytest.mark.usefixtures("environment")
async def test_pool_alease_speaks_to_the_daemon_of_the_environment(fake):
    async with pool.alease(image="local", tenant="p/d", holder="me") as lease:
        assert lease.cluster.id == "c-abc-1"
    # The first renewal may still be on its way.
    assert "/v1/leases/l-1/release" in fake.paths()[-2:]

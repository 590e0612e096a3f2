from __future__ import annotations

import asyncio
import gc
import os
import signal
import subprocess
import sys
import textwrap
import threading

import pytest

from pool.client import Client


def interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def soon_interrupted(fake):
    """Return a scripted answer that never comes; Ctrl-C is pressed when its caller has settled down to wait for it.

    Python notices a signal that comes just before a blocking call only after that call.
    """
    never, _ = hang(fake)

    def answer(body):
        fake._loop.call_later(0.2, interrupt)
        return never(body)

    return answer


def hang(fake):
    """Return a scripted answer that never comes; it notes that its caller hung up."""
    hung_up = threading.Event()

    async def wait():
        try:
            await asyncio.sleep(60)
        finally:
            hung_up.set()

    return (lambda body: wait()), hung_up


@pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt, SystemExit, GeneratorExit])
def test_a_body_that_raises_gives_its_lease_back(fake, client, wanted, kind):
    with pytest.raises(kind), client.lease(wanted):
        raise kind
    assert len(fake.bodies("/v1/leases/l-1/release")) == 1


def test_ctrl_c_in_the_body_gives_the_lease_back(fake, client, wanted):
    def body():
        interrupt()
        threading.Event().wait(10)

    with pytest.raises(KeyboardInterrupt), client.lease(wanted):
        body()
    assert len(fake.bodies("/v1/leases/l-1/release")) == 1


def test_ctrl_c_while_queued_cancels(fake, client, wanted):
    fake.acquires = [fake.queued(), soon_interrupted(fake)]
    with pytest.raises(KeyboardInterrupt), client.lease(wanted):
        pass
    assert fake.paths() == ["/v1/leases", "/v1/leases", "/v1/leases/l-1/cancel"]


def test_ctrl_c_before_the_first_answer_finds_out_what_was_granted_and_gives_it_back(fake, client, wanted):
    fake.acquires = [soon_interrupted(fake), fake.granted()]
    with pytest.raises(KeyboardInterrupt), client.lease(wanted):
        pass
    assert fake.paths() == ["/v1/leases", "/v1/leases", "/v1/leases/l-1/cancel"]
    first, second = fake.bodies("/v1/leases")
    assert first["request_id"] == second["request_id"]


def test_ctrl_c_as_the_grant_is_told_gives_it_back(fake, client, wanted):
    def progress(told):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), client.lease(wanted, progress=progress):
        pass
    assert fake.paths() == ["/v1/leases", "/v1/leases/l-1/cancel"]
    assert client._renewer.leases() == []


def test_releasing_twice_releases_once(fake, client, wanted):
    with client.lease(wanted) as lease:
        lease.release()
        lease.release()
    assert len(fake.bodies("/v1/leases/l-1/release")) == 1


def test_a_release_is_tried_again_while_the_daemon_restarts(fake, client, wanted):
    with client.lease(wanted):
        fake.await_calls("/v1/renew", 1)
        fake.stop()
        starting = threading.Timer(0.3, fake.start)
        starting.start()
    starting.join()
    assert len(fake.bodies("/v1/leases/l-1/release")) == 1


def test_a_release_that_cannot_reach_the_daemon_is_given_up_with_a_warning(fake, client, wanted, caplog, monkeypatch):
    monkeypatch.setattr("pool.client.talk.release.__defaults__", (0.3,))
    with client.lease(wanted):
        fake.stop()
    assert "could not release lease l-1" in caplog.text
    assert "expires by itself" in caplog.text


@pytest.mark.parametrize(("status", "reason"), [(410, "lease_ended"), (404, "unknown_lease"), (409, "stale_epoch")])
def test_a_release_of_a_lease_that_is_over_is_no_error(fake, client, wanted, status, reason):
    fake.release = fake.problem(status, reason)
    with client.lease(wanted):
        pass
    assert len(fake.bodies("/v1/leases/l-1/release")) == 1


async def test_a_cancelled_async_body_gives_its_lease_back(fake, aclient, wanted):
    held = asyncio.Event()

    async def body():
        async with aclient.lease(wanted):
            held.set()
            await asyncio.sleep(60)

    task = asyncio.create_task(body())
    await held.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(fake.bodies("/v1/leases/l-1/release")) == 1


async def test_a_release_survives_being_cancelled_before_it_is_sent(fake, aclient, wanted):
    lease = await aclient.acquire(wanted)
    task = asyncio.create_task(lease.release())
    await asyncio.sleep(0)  # it has begun, and sent nothing yet
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(fake.bodies("/v1/leases/l-1/release")) == 1


async def test_a_cancelled_async_acquire_cancels_its_waiting(fake, aclient, wanted):
    never, hung_up = hang(fake)
    fake.acquires = [fake.queued(), never]
    task = asyncio.create_task(aclient.acquire(wanted))
    await asyncio.to_thread(fake.await_calls, "/v1/leases", 2)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert fake.paths() == ["/v1/leases", "/v1/leases", "/v1/leases/l-1/cancel"]
    assert await asyncio.to_thread(hung_up.wait, 10)


async def test_a_cancelled_async_acquire_gives_a_grant_on_its_way_back(fake, aclient, wanted):
    never, _ = hang(fake)
    fake.acquires = [never, fake.granted()]
    task = asyncio.create_task(aclient.acquire(wanted))
    await asyncio.to_thread(fake.await_calls, "/v1/leases", 1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert fake.paths() == ["/v1/leases", "/v1/leases", "/v1/leases/l-1/cancel"]


def test_a_forked_child_neither_renews_nor_releases_the_lease_of_its_parent(fake, client, wanted):
    fake.acquires = [fake.granted(), fake.granted("l-2")]
    with client.lease(wanted) as lease:
        fake.await_calls("/v1/renew", 1)
        before = len(fake.calls)
        connection = client._connection()
        gc.disable()
        child = os.fork()
        if child == 0:
            status = 1
            try:
                lease.release()
                with client.lease(wanted) as own:
                    apart = client._connection() is not connection and client._renewer.leases() == [own]
                    status = 0 if own.id == "l-2" and apart else 2
            finally:
                os._exit(status)
        gc.enable()
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == 0
        assert set(fake.paths()[before:]) <= {"/v1/leases", "/v1/renew", "/v1/leases/l-2/release"}
        assert fake.bodies("/v1/leases/l-2/release")
        lease.check()
    assert len(fake.bodies("/v1/leases/l-1/release")) == 1


def run(fake, code: str) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "WARMPOOL_URL": fake.url, "WARMPOOL_TOKEN": fake.token}
    environment.pop("WARMPOOL_TOKEN_FILE", None)
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


SYNC = """
    import pool, time
    with pool.lease(image="local", tenant="p/d", holder="me"):
        print("held", flush=True)
        time.sleep(60)
"""
ASYNC = """
    import pool, asyncio
    async def main():
        async with pool.alease(image="local", tenant="p/d", holder="me"):
            print("held", flush=True)
            await asyncio.sleep(60)
    asyncio.run(main())
"""


@pytest.mark.parametrize("code", [SYNC, ASYNC])
def test_sigterm_releases(fake, code):
    with run(fake, code) as process:
        assert process.stdout.readline() == b"held\n"
        process.terminate()
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 143
    assert b"Traceback" not in errors
    assert len(fake.bodies("/v1/leases/l-1/release")) == 1


@pytest.mark.parametrize("code", [SYNC, ASYNC])
def test_sigterm_while_queued_cancels(fake, code):
    never, _ = hang(fake)
    fake.acquires = [fake.queued(), never]
    with run(fake, code) as process:
        fake.await_calls("/v1/leases", 2, within_s=30)
        process.terminate()
        process.communicate(timeout=30)
    assert process.returncode == 143
    assert fake.paths() == ["/v1/leases", "/v1/leases", "/v1/leases/l-1/cancel"]


def test_a_lease_held_when_the_process_ends_is_released(fake):
    code = """
        from pool.client import Client, LeaseRequest
        Client.from_environment().acquire(LeaseRequest("local", "p/d", "me"))
    """
    with run(fake, code) as process:
        _, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (0, b"")
    assert len(fake.bodies("/v1/leases/l-1/release")) == 1


def test_the_programs_own_sigterm_handler_is_left_in_place(client, wanted):
    def own(number, frame):
        pass

    before = signal.signal(signal.SIGTERM, own)
    try:
        with client.lease(wanted):
            assert signal.getsignal(signal.SIGTERM) is own
        assert signal.getsignal(signal.SIGTERM) is own
    finally:
        signal.signal(signal.SIGTERM, before)


def test_the_default_sigterm_handler_is_put_back_after_the_last_lease(client, wanted):
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    with client.lease(wanted):
        with client.lease(wanted):
            pass
        assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_a_lease_on_another_thread_touches_no_signal_handler(fake, wanted):
    seen = []

    def hold():
        with Client(fake.url, fake.token) as client, client.lease(wanted):
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=hold)
    thread.start()
    thread.join()
    assert seen == [signal.SIG_DFL]


async def test_an_acquire_that_another_process_goes_on_with_gives_nothing_back(fake, aclient, wanted):
    fake.acquires = [fake.queued()]
    task = asyncio.create_task(aclient.acquire(wanted, give_back=False))
    await asyncio.to_thread(fake.await_calls, "/v1/leases", 2)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert set(fake.paths()) == {"/v1/leases"}


async def test_a_release_may_say_how_it_went(fake, aclient, wanted):
    lease = await aclient.acquire(wanted)
    await lease.release(note="all is well")
    [body] = fake.bodies("/v1/leases/l-1/release")
    assert body["note"] == "all is well"


def test_a_release_of_the_sync_client_may_say_how_it_went_too(fake, client, wanted):
    client.acquire(wanted).release(note="all is well")
    [body] = fake.bodies("/v1/leases/l-1/release")
    assert body["note"] == "all is well"

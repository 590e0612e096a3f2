"""Clients that go away, with raw sockets: while queued, as they are granted, and while others ask in their place."""

from __future__ import annotations

import asyncio
import json
import socket
import struct

import pytest

from pool.core.events import Detached, Undelivered
from pool.core.model import ClusterState, LeaseState
from pool.core.reasons import Reason

from .conftest import Hands, Http, until, wish


class Raw:
    """A connection that sends one acquire and reads nothing unless asked."""

    def __init__(self, http: Http) -> None:
        self._http = http
        self._socket = socket.create_connection(("127.0.0.1", http.server.port))
        self._socket.setblocking(False)

    def __enter__(self) -> Raw:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    async def acquire(self, request_id: str, wait_s: float = 60.0) -> None:
        body = json.dumps(wish(request_id, wait_s=wait_s)).encode()
        head = (
            f"POST /v1/leases HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {self._http.tokens['client']}\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        await asyncio.get_running_loop().sock_sendall(self._socket, head.encode() + body)

    async def read(self) -> bytes:
        return await asyncio.get_running_loop().sock_recv(self._socket, 65536)

    def hang_up(self) -> None:
        self._socket.close()

    def reset(self) -> None:
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._socket.close()


@pytest.mark.parametrize("how", ["hang_up", "reset"])
async def test_a_client_that_vanishes_while_queued_is_waited_for_a_short_time(
    http: Http, hands: Hands, how: str
) -> None:
    with Raw(http) as raw:
        await raw.acquire("r-1")
        await until(lambda: hands.state.waiters, "it is queued")
        (lease_id,) = hands.state.waiters
        getattr(raw, how)()
        await until(lambda: any(isinstance(e, Detached) for e in hands.events), "its going is noticed")
    assert Detached(lease_id, hands.now() + 5.0) in hands.events
    assert hands.state.waiters[lease_id].seen_until == hands.now() + 5.0
    hands.pass_time(6)
    assert not hands.state.waiters


async def test_a_client_that_was_told_to_come_back_is_expected_soon(http: Http, hands: Hands) -> None:
    await http.acquire("r-1", wait_s=0)
    asking = asyncio.create_task(http.acquire("r-1", wait_s=300))
    await until(lambda: _listening(http) == 1, "it is asked")
    (waiter,) = hands.state.waiters.values()
    hands.answer_early(waiter.id)
    assert (await asking).json["status"] == "queued"
    await until(lambda: any(isinstance(e, Detached) for e in hands.events), "it is expected back")
    assert hands.state.waiters[waiter.id].seen_until == hands.now() + 10.0


async def test_a_client_that_comes_back_in_time_keeps_its_place(http: Http, hands: Hands) -> None:
    with Raw(http) as raw:
        await raw.acquire("r-1")
        await until(lambda: hands.state.waiters, "it is queued")
        raw.hang_up()
        await until(lambda: any(isinstance(e, Detached) for e in hands.events), "its going is noticed")
    (lease_id,) = hands.state.waiters
    hands.pass_time(4)
    again = await http.acquire("r-1")
    assert again.json["lease_id"] == lease_id
    hands.pass_time(4)
    assert lease_id in hands.state.waiters


async def test_a_client_that_vanishes_as_it_is_granted_gives_its_cluster_back(http: Http, hands: Hands) -> None:
    with Raw(http) as raw:
        await raw.acquire("r-1")
        await until(lambda: hands.state.waiters, "it is queued")
        # No turn of the event loop lies between the two: nobody can have noticed before the grant.
        raw.hang_up()
        hands.start_all()
        (lease,) = hands.state.leases.values()
        await until(lambda: not hands.state.leases, "the grant is taken back")
    assert Undelivered(lease.id, lease.epoch) in hands.events
    assert hands.state.ended[lease.id].end_reason is Reason.UNDELIVERED
    assert hands.state.clusters[lease.cluster].state is ClusterState.IDLE


async def test_a_client_that_vanishes_before_its_acquire_is_decided_leaves_nothing(warm: Http, hands: Hands) -> None:
    hands.hold_submits = asyncio.Event()
    with Raw(warm) as raw:
        await raw.acquire("r-1")
        await until(lambda: _listening(warm) == 1, "it is asked")
        raw.hang_up()
        await until(lambda: _listening(warm) == 0, "its going is noticed")
        hands.hold_submits.set()
        await until(lambda: any(isinstance(e, Detached) for e in hands.events), "it is cleaned up")
    assert not hands.state.waiters
    await until(lambda: not hands.state.leases, "no lease is left")


async def test_a_late_notice_takes_nothing_from_the_connection_that_asks_again(http: Http, hands: Hands) -> None:
    with Raw(http) as old, Raw(http) as new:
        await old.acquire("r-1")
        await until(lambda: hands.state.waiters, "it is queued")
        await new.acquire("r-1")
        await until(lambda: _listening(http) == 2, "both listen")
        old.hang_up()
        await until(lambda: _listening(http) == 1, "one is gone")
        hands.start_all()
        assert b'"status":"granted"' in await new.read()
    assert not [e for e in hands.events if isinstance(e, Detached | Undelivered)]
    (lease,) = hands.state.leases.values()
    assert lease.state is LeaseState.GRANTED


async def test_an_old_grant_that_is_told_again_in_vain_stays(warm: Http, hands: Hands) -> None:
    grant = await warm.granted("r-1")
    hands.pass_time(1)
    hands.hold_submits = asyncio.Event()
    with Raw(warm) as raw:
        await raw.acquire("r-1", wait_s=0)
        await until(lambda: _listening(warm) == 1, "it is asked")
        raw.hang_up()
        hands.hold_submits.set()
        await until(lambda: any(isinstance(e, Detached) for e in hands.events), "its going is noticed")
    assert not [e for e in hands.events if isinstance(e, Undelivered)]
    assert grant["lease_id"] in hands.state.leases


def _listening(http: Http) -> int:
    from pool.api.app import API

    return len(http.server.runner.app[API].listening._waiting)

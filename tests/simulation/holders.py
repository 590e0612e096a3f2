"""Holders as they are: patient and hasty, tidy and careless, and now and then dead."""

from __future__ import annotations

import asyncio
import contextlib
import random
from typing import TYPE_CHECKING

from pool.core.decisions import Ended, Granted, Queued, Rejected, Renewed
from pool.core.errors import PoolError
from pool.core.events import Acquire, Cancel, Detached, Release, Renew, Revoke, Undelivered
from pool.core.key import ClusterKey
from pool.core.model import Lease, Mode
from pool.core.reasons import Reason

if TYPE_CHECKING:
    from tests.simulation.simulation import Simulation


class Unreachable(Exception):
    """There is no daemon, or it died while it was asked."""


class Holder:
    """One task that wants a cluster, from the first ask to its end, however it ends.

    Attributes:
        outcome: how it ended, empty while it lives.
    """

    def __init__(self, sim: Simulation, number: int, rng: random.Random) -> None:
        self.sim, self.rng = sim, rng
        self.name = f"holder-{number}"
        self.key: ClusterKey = rng.choice(sim.wanted)
        self.group = rng.choice(["", "g1", "g2", f"g-{number}"])
        self.mode = rng.choices([Mode.WAIT_OR_CREATE, Mode.WAIT, Mode.WARM_ONLY], [8, 1, 1])[0]
        self.priority = rng.choice([0, 0, 0, 1, 5])
        self.patience_s = rng.uniform(5.0, 60.0)
        self.work_s = rng.choice([0.0, rng.uniform(0.1, 3.0), rng.uniform(3.0, 30.0)])
        self.temper = rng.choices(
            ["tidy", "dies", "vanishes_queued", "vanishes_granted", "cancels", "never_claims", "revoked"],
            [10, 2, 1, 1, 1, 1, 1],
        )[0]
        self.outcome = ""
        self._asks = 0

    def __repr__(self) -> str:
        return f"<Holder {self.name} {self.temper} {self.mode} of {self.key.digest} [{self.outcome or 'lives'}]>"

    async def run(self) -> None:
        """Live, and note how it ended."""
        try:
            self.outcome = await self._live()
        except Unreachable:
            self.outcome = "unreachable"
        self.sim.note(f"{self.name} {self.outcome}")

    async def _live(self) -> str:
        told = await self._acquire()
        if not isinstance(told, Granted):
            return told
        lease = told.lease
        if self.temper == "vanishes_granted":
            await self._quietly(Undelivered(lease.id, lease.epoch))
            return "undelivered"
        self.sim.oracle.granted(self.name, self.key.tenant, told)
        self._look_at_the_cluster(told)
        if self.temper == "never_claims":
            return "never claimed"
        return await self._hold(lease)

    def _look_at_the_cluster(self, told: Granted) -> None:
        real = self.sim.world.clusters.get(told.cluster.id)
        if real is not None and not self.sim.is_shared(told.cluster.id):
            assert not real.dirty, f"{self.name} was given {real.id} with {real.dirty}"

    async def _acquire(self) -> Granted | str:
        deadline = self.sim.clock.now() + self.patience_s
        sulks_at = self.sim.clock.now() + self.rng.uniform(0.0, 5.0)
        while True:
            wait_s = self.rng.choice([0.0, 1.0, 5.0])
            now = self.sim.clock.now()
            self._asks += 1
            ask = Acquire(
                f"l-{self.name}-{self._asks}", "sim", self.name, self.key, self.name, self.group, self.mode,
                deadline, now + wait_s + 3.0, self.priority,
            )  # fmt: skip
            try:
                reply = await self.sim.call(lambda d, ask=ask, wait_s=wait_s: d.acquire(ask, wait_s))
            except (Unreachable, PoolError):
                if self.sim.clock.now() > deadline + 60.0:
                    raise Unreachable from None
                await asyncio.sleep(self.rng.uniform(0.1, 1.0))
                continue
            if isinstance(reply, Granted):
                return reply
            if isinstance(reply, Rejected):
                return f"rejected {reply.reason}"
            assert isinstance(reply, Queued), reply
            if self.temper == "vanishes_queued":
                await self._quietly(Detached(reply.waiter.id, self.sim.clock.now() + 1.0))
                return "detached"
            if self.temper == "cancels" and self.sim.clock.now() >= sulks_at:
                return await self._cancel(reply.waiter.id)
            if self.rng.random() < 0.2:
                await asyncio.sleep(self.rng.uniform(0.0, 2.0))

    async def _cancel(self, lease_id: str) -> str:
        reply = await self._surely(Cancel(lease_id))
        assert isinstance(reply, Ended | Rejected), reply
        return f"cancelled {reply.reason}"

    async def _hold(self, lease: Lease) -> str:
        sim = self.sim
        ends_at = sim.clock.now() + self.work_s
        dies_at = sim.clock.now() + self.rng.uniform(0.0, self.work_s) if self.temper == "dies" else float("inf")
        while True:
            if sim.clock.now() >= dies_at:
                return "died"
            if self.rng.random() < 0.1:
                await self._try_a_stale_epoch(lease)
            try:
                reply = await sim.call(lambda d: d.submit(Renew(lease.id, lease.epoch)))
            except (Unreachable, PoolError):
                await asyncio.sleep(0.5)
            else:
                if isinstance(reply, Rejected):
                    return f"lost its lease: {reply.reason}"
                assert isinstance(reply, Renewed), reply
                sim.oracle.renewed(lease.id, reply.lease.expires_at)
                if self.temper == "revoked":
                    await self._quietly(Revoke(lease.id, "the operator was asked"))
                if reply.hints and self.rng.random() < 0.5:
                    break
                await asyncio.sleep(max(0.0, min(lease.ttl_s / 3, ends_at - sim.clock.now())))
            if sim.clock.now() >= ends_at:
                break
        return await self._release(lease)

    async def _try_a_stale_epoch(self, lease: Lease) -> None:
        ask = self.rng.choice([Renew, Release])(lease.id, lease.epoch + self.rng.choice([-1, 1]))
        try:
            reply = await self.sim.call(lambda d: d.submit(ask))
        except (Unreachable, PoolError):
            return
        assert isinstance(reply, Rejected), f"{ask} of a stale epoch was answered with {reply}"
        assert reply.reason in (Reason.STALE_EPOCH, Reason.LEASE_ENDED, Reason.UNKNOWN_LEASE), reply

    async def _release(self, lease: Lease) -> str:
        real = self.sim.world.clusters.get(lease.cluster)
        if real is not None and self.rng.random() < self.sim.leaves_dirt:
            real.dirty = f"an actor of {self.name}"
        self.sim.oracle.let_go(lease.id)
        reply = await self._surely(Release(lease.id, lease.epoch, self.rng.choice([None, None, 4.0])))
        return f"released {reply.reason}"

    async def _surely(self, ask: Cancel | Release) -> Ended | Rejected:
        """Ask until there is an answer: the first may have been lost."""
        for _ in range(200):
            try:
                reply = await self.sim.call(lambda d: d.submit(ask))
            except (Unreachable, PoolError):
                await asyncio.sleep(0.5)
            else:
                assert isinstance(reply, Ended | Rejected), reply
                return reply
        raise Unreachable

    async def _quietly(self, event: Detached | Undelivered | Revoke) -> None:
        with contextlib.suppress(Unreachable, PoolError):
            await self.sim.call(lambda d: d.submit(event))

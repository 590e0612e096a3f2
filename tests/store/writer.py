"""A daemon's store in a process of its own: commits leases one by one and names each once it is acknowledged."""

from __future__ import annotations

import asyncio
import sys

from pool.core.decisions import Change
from pool.core.model import Lease, LeaseState, Mode, Outcome
from pool.store.sql import SqlStore


async def main(url: str) -> None:
    store = SqlStore(url)
    await store.open(0.0)
    n = 0
    while True:
        batch = [
            Lease(
                f"l-{i}", "c", "p", "t", "cli", f"r-{i}", "h", "g", 0, Mode.WAIT, 1, LeaseState.ACTIVE, Outcome.HIT,
                None, 0.0, 0.0, 30.0, 30.0,
            )
            for i in range(n, n + 5)
        ]  # fmt: skip
        await store.commit([Change(None, lease) for lease in batch])
        n += 5
        print(n, flush=True)


asyncio.run(main(sys.argv[1]))

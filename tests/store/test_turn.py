"""Whose turn it is to write a PostgreSQL database: one writer, the others stand by."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable

import pytest

from pool.core.errors import NotTheWriter, StoreFailed
from pool.store import turn
from pool.store.sql import SqlStore
from tests.postgres import sql

BOUND_S = 30
LOCKED = "locktype = 'advisory' AND granted AND pid <> pg_backend_pid()"
END_SESSIONS = f"SELECT count(pg_terminate_backend(pid)) FROM pg_locks WHERE {LOCKED}"

FROZEN = """
import asyncio, sys
from pool.store import turn
from pool.store.sql import SqlStore

async def main():
    turn.SILENT_S, turn.CHECK_EVERY_S = 4, 0.1
    store = SqlStore(sys.argv[1])
    await store.stand_by(print)
    await store.open(0.0)
    print("writes", flush=True)
    await store.keep()

asyncio.run(main())
"""


@pytest.fixture
async def store(postgres_url: str) -> AsyncIterator[Callable[..., SqlStore]]:
    made: list[SqlStore] = []

    def make(**options: object) -> SqlStore:
        made.append(SqlStore(postgres_url, **options))
        return made[-1]

    yield make
    for one in made:
        await one.close()


async def standing_by(store: SqlStore) -> tuple[asyncio.Task[None], asyncio.Queue[str]]:
    told: asyncio.Queue[str] = asyncio.Queue()
    waiting = asyncio.create_task(store.stand_by(told.put_nowait))
    return waiting, told


async def test_a_second_daemon_stands_by_is_told_who_the_writer_is_and_takes_over_when_it_ends(store) -> None:
    first, second = store(), store()
    await first.stand_by(pytest.fail)
    await first.open(1.0)
    waiting, told = await standing_by(second)
    assert await asyncio.wait_for(told.get(), BOUND_S) == f"process {os.getpid()} on {os.uname().nodename}"
    await first.commit([])
    assert not waiting.done()
    await first.close()
    await asyncio.wait_for(waiting, BOUND_S)
    assert (await second.open(2.0)).generation == 2
    assert told.empty()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
async def test_a_writer_that_is_killed_or_stands_still_loses_its_turn(store, postgres_url, how) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", FROZEN, postgres_url, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        assert await process.stdout.readline() == b"writes\n"
        waiting, told = await standing_by(store())
        assert await asyncio.wait_for(told.get(), BOUND_S) == f"process {process.pid} on {os.uname().nodename}"
        process.send_signal(how)
        await asyncio.wait_for(waiting, BOUND_S)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def test_a_writer_whose_session_ended_is_told_that_it_is_the_writer_no_more(
    store, postgres_url, monkeypatch
) -> None:
    monkeypatch.setattr(turn, "CHECK_EVERY_S", 0.05)
    first = store()
    await first.stand_by(pytest.fail)
    await first.open(0.0)
    keeping = asyncio.create_task(first.keep())
    await asyncio.sleep(0)
    assert sql(postgres_url, END_SESSIONS) == "1"
    with pytest.raises(NotTheWriter, match="makes this daemon the writer") as caught:
        await asyncio.wait_for(keeping, BOUND_S)
    assert "Start it again" in caught.value.remedy


async def test_a_lock_that_a_pooler_gave_to_somebody_else_is_noticed(store, monkeypatch) -> None:
    monkeypatch.setattr(turn, "CHECK_EVERY_S", 0.05)
    first = store()
    await first.stand_by(pytest.fail)
    await first._turn._session.execute("SELECT pg_advisory_unlock_all()")
    with pytest.raises(NotTheWriter, match="not this session's any more"):
        await asyncio.wait_for(first.keep(), BOUND_S)


async def test_a_standby_goes_on_standing_by_when_its_session_is_lost(store, postgres_url) -> None:
    first, second = store(), store()
    await first.stand_by(pytest.fail)
    await first.open(0.0)
    waiting, told = await standing_by(second)
    await asyncio.wait_for(told.get(), BOUND_S)
    ours = "application_name = '' AND query LIKE '%FROM meta%' AND pid <> pg_backend_pid()"
    before = second._turn._session
    assert sql(postgres_url, f"SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE {ours}") != "0"
    async with asyncio.timeout(BOUND_S):
        while second._turn._session in (before, None):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    assert not waiting.done()
    await first.close()
    await asyncio.wait_for(waiting, BOUND_S)


async def test_a_daemon_with_another_key_is_refused_before_it_stands_by_unless_the_store_was_restored(store) -> None:
    first = store(key_id="a-key")
    await first.stand_by(pytest.fail)
    await first.open(0.0)
    other = store(key_id="another")
    with pytest.raises(StoreFailed, match=r"another tokens\.key") as caught:
        await other.stand_by(pytest.fail)
    assert "--restored" in caught.value.remedy
    with pytest.raises(StoreFailed, match=r"another tokens\.key"):
        await other.open(0.0)
    await first.close()
    restored = store(key_id="another", restored=True)
    await restored.stand_by(pytest.fail)
    await restored.open(0.0)
    await restored.close()
    assert (await other.open(0.0)).generation > 2


async def test_a_store_on_a_file_does_not_stand_by(file) -> None:
    first = SqlStore(f"sqlite:///{file}", key_id="a-key")
    await first.stand_by(pytest.fail)
    await first.open(0.0)
    await first.close()
    with pytest.raises(StoreFailed, match=r"another tokens\.key"):
        await SqlStore(f"sqlite:///{file}", key_id="another").open(0.0)

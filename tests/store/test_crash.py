"""What was acknowledged is there, whatever happens to the process."""

from __future__ import annotations

import asyncio
import sqlite3
import sys
from pathlib import Path

import pytest

from pool.core.errors import StoreFailed
from pool.store.sql import SqlStore

WRITER = Path(__file__).with_name("writer.py")


async def _start_writer(url: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, str(WRITER), url, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )


async def _kill_after(process: asyncio.subprocess.Process, lines: int) -> int:
    """Kill the writer once it has acknowledged `lines` commits; return how many leases it acknowledged in all."""
    assert process.stdout is not None
    try:
        for _ in range(lines):
            line = await process.stdout.readline()
            assert line.strip().isdigit(), line + await process.stdout.read()
    finally:
        process.kill()
    # What it still acknowledged before it died; a line cut short does not count.
    lines += (await process.stdout.read()).count(b"\n")
    await process.wait()
    return lines * 5


@pytest.mark.parametrize("lines", [1, 7, 40])
async def test_what_was_acknowledged_survives_sigkill_in_the_middle_of_commits(file: Path, lines: int) -> None:
    url = f"sqlite:///{file}"
    acknowledged = await _kill_after(await _start_writer(url), lines)

    store = SqlStore(url)
    try:
        found = {lease.id for lease in (await store.open(0.0)).leases}
    finally:
        await store.close()
    assert {f"l-{n}" for n in range(acknowledged)} <= found
    # A commit that was under way is there as a whole or not at all.
    assert len(found) in (acknowledged, acknowledged + 5)
    with sqlite3.connect(file) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()


async def test_what_was_acknowledged_by_postgresql_survives_sigkill(postgres_url: str) -> None:
    acknowledged = await _kill_after(await _start_writer(postgres_url), 20)
    store = SqlStore(postgres_url)
    try:
        assert {f"l-{n}" for n in range(acknowledged)} <= {lease.id for lease in (await store.open(0.0)).leases}
    finally:
        await store.close()


async def test_a_second_daemon_on_one_file_is_refused_until_the_first_is_dead(file: Path) -> None:
    url = f"sqlite:///{file}"
    process = await _start_writer(url)
    store = SqlStore(url)
    try:
        assert process.stdout is not None
        await process.stdout.readline()
        with pytest.raises(StoreFailed, match=rf"process id {process.pid}\b") as caught:
            await store.open(0.0)
        assert "Stop that daemon" in caught.value.remedy
    finally:
        process.kill()
        await process.communicate()
    try:
        assert (await store.open(0.0)).generation == 2
    finally:
        await store.close()


async def test_two_stores_in_one_process_are_told_apart_too(file: Path) -> None:
    first, second = SqlStore(f"sqlite:///{file}"), SqlStore(f"sqlite:///{file}")
    try:
        await first.open(0.0)
        with pytest.raises(StoreFailed, match="in use"):
            await second.open(0.0)
        await first.close()
        assert (await second.open(0.0)).generation == 2
    finally:
        await first.close()
        await second.close()

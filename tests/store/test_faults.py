"""A store that fails says what happened and what to do, and loses nothing."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pool.core.errors import StoreConflict, StoreFailed
from pool.core.key import Footprint
from pool.core.model import LeaseState
from pool.store.sql import SqlStore


@contextmanager
def _small_disk(at: Path, size: str) -> Iterator[Path]:
    if os.geteuid() != 0:
        pytest.skip("a small disk needs root; `sudo make test` provides it")
    at.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "warmpool-test", str(at)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"mount is not allowed here ({done.stderr.strip()}); `docker run --privileged` provides it")
    try:
        yield at
    finally:
        subprocess.run(["umount", str(at)], check=True)


def _remount_read_only(disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)


def _damage(file: Path) -> None:
    content = bytearray(file.read_bytes())
    for page in range(3, len(content) // 4096):
        content[page * 4096 : page * 4096 + 100] = b"\xaa" * 100
    file.write_bytes(content)


async def _fill(store: SqlStore, make, new) -> tuple[list[str], StoreFailed]:
    """Commit until it fails; return what was acknowledged and the failure."""
    acknowledged: list[str] = []
    for _ in range(2000):
        leases = [make.lease(holder="h" * 1000) for _ in range(20)]
        try:
            await store.commit(new(*leases))
        except StoreFailed as error:
            return acknowledged, error
        acknowledged += [lease.id for lease in leases]
    pytest.fail("the disk never became full")


async def test_a_full_disk_is_told_and_loses_nothing(tmp_path: Path, make, new) -> None:
    with _small_disk(tmp_path / "disk", "4m") as disk:
        ballast = disk / "ballast"
        ballast.write_bytes(bytes(1 << 20))
        store = SqlStore(f"sqlite:///{disk}/warmpool.sqlite")
        try:
            await store.open(0.0)
            acknowledged, error = await _fill(store, make, new)
            assert acknowledged
            assert "disk is full" in error.detail
            assert "Free disk space" in error.remedy
            assert "Nothing that was committed is lost" in error.remedy
            # The same daemon can go on once there is room again.
            ballast.unlink()
            lease = make.lease()
            await store.commit(new(lease))
            await store.close()
            found = {found.id for found in (await store.open(0.0)).leases}
        finally:
            await store.close()
        assert found == {*acknowledged, lease.id}


async def test_a_database_at_its_size_limit_is_told_and_loses_nothing(file: Path, make, new) -> None:
    store = SqlStore(f"sqlite:///{file}")
    try:
        await store.open(0.0)
        await store._run(lambda tx: tx.rows("PRAGMA max_page_count = 200"))
        acknowledged, error = await _fill(store, make, new)
        assert "no room left" in error.detail
        await store.close()
        assert {lease.id for lease in (await store.open(0.0)).leases} == set(acknowledged)
    finally:
        await store.close()


async def test_a_store_that_became_read_only_is_told(file: Path, make, new) -> None:
    store = SqlStore(f"sqlite:///{file}")
    try:
        await store.open(0.0)
        await store._run(lambda tx: tx.rows("PRAGMA query_only = ON"))
        with pytest.raises(StoreFailed, match="read-only") as caught:
            await store.commit(new(make.lease()))
        assert "right to write" in caught.value.remedy
    finally:
        await store.close()


async def test_a_read_only_disk_is_told(tmp_path: Path, make) -> None:
    with _small_disk(tmp_path / "disk", "4m") as disk:
        store = SqlStore(f"sqlite:///{disk}/warmpool.sqlite")
        await store.open(0.0)
        await store.close()
        _remount_read_only(disk)
        with pytest.raises(StoreFailed, match="read-only") as caught:
            await store.open(0.0)
        assert str(disk) in caught.value.detail


async def test_a_file_locked_by_another_program_is_told(file: Path, make, new) -> None:
    store = SqlStore(f"sqlite:///{file}")
    other = sqlite3.connect(file, isolation_level=None)
    try:
        await store.open(0.0)
        await store._link._driver.execute_fetchall("PRAGMA busy_timeout = 10")
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreFailed, match="locked by another process") as caught:
            await store.commit(new(make.lease()))
        assert "fuser" in caught.value.remedy
        other.execute("ROLLBACK")
        await store.commit(new(make.lease()))
    finally:
        other.close()
        await store.close()


NOTES = "these are my notes\n" * 100


@pytest.fixture
def notes(file: Path) -> Iterator[Path]:
    """A file that is no database, and that is seen unchanged at the end."""
    file.write_text(NOTES)
    yield file
    assert file.read_text() == NOTES


async def test_a_file_that_is_no_database_is_refused_and_left_alone(notes: Path) -> None:
    # Twice: the first refusal lets go of the lock.
    for store in (SqlStore(f"sqlite:///{notes}"), SqlStore(f"sqlite:///{notes}")):
        with pytest.raises(StoreFailed, match="not a SQLite database"):
            await store.open(0.0)


async def test_a_damaged_database_is_told(file: Path, make, new) -> None:
    store = SqlStore(f"sqlite:///{file}")
    try:
        await store.open(0.0)
        await store.commit(new(*(make.lease() for _ in range(500))))
    finally:
        await store.close()
    _damage(file)
    with pytest.raises(StoreFailed, match="is damaged") as caught:
        await store.open(0.0)
    assert "Restore a backup" in caught.value.remedy
    assert "--restored" in caught.value.remedy


async def test_a_record_of_another_version_is_told(file: Path, make, new) -> None:
    store = SqlStore(f"sqlite:///{file}")
    try:
        await store.open(0.0)
        await store.commit(new(make.lease()))
        await store._run(lambda tx: tx.write("UPDATE leases SET outcome = 'teleported'"))
        await store.close()
        with pytest.raises(StoreFailed, match="teleported") as caught:
            await store.open(0.0)
        assert "Install the version that wrote it" in caught.value.remedy
    finally:
        await store.close()


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"priority": 2**63}, "too large"),
        ({"holder": "\ud800"}, "surrogates"),
        ({"ttl_s": float("nan")}, "ttl_s"),
    ],
)
async def test_a_value_that_no_row_can_hold_is_a_conflict_of_its_own_event(file: Path, make, new, fields, said) -> None:
    store = SqlStore(f"sqlite:///{file}")
    try:
        await store.open(0.0)
        innocent = make.lease()
        with pytest.raises(StoreConflict, match=said):
            await store.commit(new(innocent, make.lease(**fields)))
        assert await store.find_lease(innocent.id) is None
        await store.commit(new(innocent))
    finally:
        await store.close()


@pytest.mark.parametrize("fields", [{"priority": 2**63}, {"holder": "\ud800"}, {"holder": "a\0b"}])
async def test_a_value_that_postgresql_cannot_hold_is_a_conflict_of_its_own_event(
    postgres_url: str, make, new, fields
) -> None:
    store = SqlStore(postgres_url)
    try:
        await store.open(0.0)
        innocent = make.lease()
        with pytest.raises(StoreConflict, match="cannot hold a value"):
            await store.commit(new(innocent, make.lease(**fields)))
        assert await store.find_lease(innocent.id) is None
        await store.commit(new(innocent))
        cluster = make.cluster(footprint=Footprint(1, 2**70, 0, 0))
        with pytest.raises(StoreConflict, match="cannot hold a value"):
            await store.commit(new(cluster))
    finally:
        await store.close()


async def test_a_postgresql_that_is_not_there_is_told_without_the_password(postgres: str) -> None:
    store = SqlStore(f"postgresql://warmpool:hush@/nowhere?host={postgres}")
    with pytest.raises(StoreFailed, match="does not exist") as caught:
        await store.open(0.0)
    assert "Create the database" in caught.value.remedy
    assert "hush" not in str(caught.value) + repr(store)
    store = SqlStore("postgresql://warmpool:hush@127.0.0.1:1/nowhere")
    with pytest.raises(StoreFailed, match="does not answer"):
        await store.open(0.0)


async def test_a_postgresql_connection_that_was_cut_is_told_and_the_next_commit_works(
    postgres_url: str, make, new
) -> None:
    store, other = SqlStore(postgres_url), SqlStore(postgres_url)
    try:
        await other.open(0.0)
        await store.open(0.0)
        cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> $1"
        [[pid]] = await other._rows("SELECT pg_backend_pid()")
        await other._rows(cut, pid)
        lease = make.lease(state=LeaseState.GRANTED)
        with pytest.raises(StoreFailed):
            await store.commit(new(lease))
        await store.commit(new(lease))
        assert await store.find_lease(lease.id) == lease
    finally:
        await store.close()
        await other.close()


@pytest.mark.parametrize("url", ["mysql://user:hush@host/db", "nonsense", "", "sqlite+nodriver:nothing"])
def test_a_url_of_no_store_is_refused_without_being_repeated(url: str) -> None:
    with pytest.raises(StoreFailed, match="neither of SQLite nor of PostgreSQL") as caught:
        SqlStore(url)
    assert "hush" not in str(caught.value)
    assert "postgresql://" in caught.value.remedy


async def test_only_its_user_can_read_a_new_database(tmp_path: Path, make, new) -> None:
    file = tmp_path / "deep" / "down" / "warmpool.sqlite"
    store = SqlStore(f"sqlite:///{file}")
    try:
        await store.open(0.0)
        await store.commit(new(make.lease()))
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in file.parent.iterdir()}
        assert modes == dict.fromkeys((file.name, *(file.name + end for end in ("-wal", "-shm", ".lock"))), 384)
        assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    finally:
        await store.close()


async def test_a_path_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreFailed, match="part of its path is a file"):
        await SqlStore(f"sqlite:///{tmp_path}/file/warmpool.sqlite").open(0.0)
    with pytest.raises(StoreFailed, match="is a directory"):
        await SqlStore(f"sqlite:///{tmp_path}").open(0.0)


async def test_the_log_of_a_busy_database_stays_bounded(file: Path, make, new) -> None:
    store = SqlStore(f"sqlite:///{file}")
    try:
        await store.open(0.0)
        for _ in range(60):
            await store.commit(new(*(make.lease(holder="h" * 1000) for _ in range(200))))
        assert file.with_name(file.name + "-wal").stat().st_size < 25_000_000
    finally:
        await store.close()
    assert not file.with_name(file.name + "-wal").exists()


async def test_a_database_in_memory_works(make, new) -> None:
    store = SqlStore("sqlite://")
    try:
        assert (await store.open(0.0)).generation == 1
        lease = make.lease()
        for _ in range(150):
            await store.commit(new(make.lease()))
        await store.commit(new(lease))
        assert await store.find_lease(lease.id) == lease
    finally:
        await store.close()

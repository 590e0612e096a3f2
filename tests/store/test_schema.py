"""The schema: made by migrations alone, checked quickly, refused when it is not ours."""

from __future__ import annotations

import logging
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine
from sqlalchemy.engine import Connection

from pool.core.errors import StoreFailed
from pool.core.reasons import Reason
from pool.store import schema, tables
from pool.store.sql import SqlStore


def _differences(connection: Connection) -> list[object]:
    return compare_metadata(MigrationContext.configure(connection), tables.metadata)


async def test_the_migrations_make_exactly_the_tables_that_the_code_knows(file: Path) -> None:
    store = SqlStore(f"sqlite:///{file}")
    try:
        await store.open(0.0)
        assert await store._link.run_sync(_differences) == []
    finally:
        await store.close()


async def test_the_migrations_make_the_same_tables_in_postgresql(postgres_url: str) -> None:
    store = SqlStore(postgres_url)
    try:
        await store.open(0.0)
        assert await store._link.run_sync(_differences) == []
    finally:
        await store.close()


def test_the_newest_revision_is_the_one_that_the_code_is_written_for() -> None:
    scripts = ScriptDirectory(str(schema._MIGRATIONS))
    assert scripts.get_heads() == [tables.SCHEMA]


def test_the_revisions_are_numbered_so_that_a_newer_one_compares_greater() -> None:
    numbers = [script.revision for script in ScriptDirectory(str(schema._MIGRATIONS)).walk_revisions()]
    assert numbers == [f"{n:04d}" for n in range(len(numbers), 0, -1)]


def _version(file: Path, number: str, usable_from: str) -> None:
    with sqlite3.connect(file) as connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", (number,))
        connection.execute("UPDATE meta SET usable_from = ?", (usable_from,))
    connection.close()


def test_what_the_code_can_be_taken_back_to_is_a_schema_that_there_was() -> None:
    assert "0001" <= tables.USABLE_FROM <= tables.SCHEMA


async def test_a_newer_schema_that_this_version_can_use_is_used(file: Path) -> None:
    store = SqlStore(f"sqlite:///{file}")
    await store.open(0.0)
    await store.close()
    _version(file, "0999", tables.SCHEMA)
    assert (await store.open(0.0)).generation == 2
    await store.close()
    with sqlite3.connect(file) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchone() == ("0999",)
    connection.close()


async def test_a_migration_marks_the_store_with_what_can_use_it(file: Path) -> None:
    engine = create_engine(f"sqlite:///{file}")
    with engine.begin() as connection:
        command.upgrade(schema._config(connection), "0001")
        connection.exec_driver_sql("INSERT INTO meta VALUES (1, 'an-old-store', 7, '', 1.0)")
    engine.dispose()
    store = SqlStore(f"sqlite:///{file}")
    loaded = await store.open(2.0)
    assert (loaded.store_id, loaded.generation, loaded.previous_opened_at) == ("an-old-store", 8, 1.0)
    await store.close()
    with sqlite3.connect(file) as found:
        assert found.execute("SELECT usable_from FROM meta").fetchone() == (tables.USABLE_FROM,)
    found.close()


async def test_a_reason_of_a_newer_version_is_read_as_internal(file: Path, make, new) -> None:
    store = SqlStore(f"sqlite:///{file}")
    await store.open(0.0)
    await store.commit(new(make.ended(1.0)))
    await store.close()
    with sqlite3.connect(file) as connection:
        connection.execute("UPDATE leases SET end_reason = 'not_thought_of_yet'")
    connection.close()
    (lease,) = (await store.open(0.0)).ended
    assert lease.end_reason is Reason.INTERNAL
    await store.close()


async def test_a_newer_schema_is_refused(file: Path) -> None:
    store = SqlStore(f"sqlite:///{file}")
    await store.open(0.0)
    await store.close()
    _version(file, "0999", "0999")
    with pytest.raises(StoreFailed, match=f"has schema 0999, .* up to {tables.SCHEMA}") as caught:
        await store.open(0.0)
    assert "Install the newer warmpool" in caught.value.remedy
    _version(file, tables.SCHEMA, tables.USABLE_FROM)
    assert (await store.open(0.0)).generation == 2
    await store.close()


async def test_another_programs_database_is_refused_and_left_alone(file: Path) -> None:
    with sqlite3.connect(file) as connection:
        connection.execute("CREATE TABLE recipes (name TEXT)")
    with pytest.raises(StoreFailed, match=r"another program \(recipes\)"):
        await SqlStore(f"sqlite:///{file}").open(0.0)
    assert connection.execute("SELECT name FROM sqlite_master").fetchall() == [("recipes",)]
    connection.close()


async def test_a_migration_cut_short_leaves_nothing_behind(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from alembic.operations import Operations

    create = Operations.create_table

    def fail_at_leases(self: Operations, name: str, *columns: object, **options: object) -> object:
        if name == "leases":
            raise OSError("the power went")
        return create(self, name, *columns, **options)

    store = SqlStore(f"sqlite:///{file}")
    with monkeypatch.context() as patch:
        # The proxy that the revisions use looks the method up on the class.
        patch.setattr(Operations, "create_table", fail_at_leases)
        with pytest.raises(StoreFailed, match="the power went"):
            await store.open(0.0)
    with sqlite3.connect(file) as connection:
        assert connection.execute("SELECT name FROM sqlite_master").fetchall() == []
    connection.close()
    assert (await store.open(0.0)).generation == 1
    await store.close()


async def test_clusters_of_the_first_schema_are_idle_since_they_changed_last(file: Path) -> None:
    from alembic import command

    engine = create_engine(f"sqlite:///{file}")
    with engine.begin() as connection:
        command.upgrade(schema._config(connection), "0001")
        connection.exec_driver_sql(
            "INSERT INTO meta (id, store_id, generation, opened_by, opened_at) VALUES (1, 'store', 1, 'old', 0)"
        )
        old = [
            name
            for name in (c.name for c in tables.clusters.columns)
            if name not in ("idle_since", "resizes", "grow_s", "evidence", "booked_state", "booked_at")
        ]
        values: dict[str, object] = dict.fromkeys(old, 0) | {
            "id": "c-x-1", "pool": "x", "tenant": "p/d", "state": "idle", "cause": "miss", "leases": "[]",
            "doom": None, "reason": None, "detail": "", "changed_at": 70.0,
        }  # fmt: skip
        row = tables.clusters.insert().values(values)
        connection.execute(row)
    engine.dispose()
    store = SqlStore(f"sqlite:///{file}")
    try:
        [cluster] = (await store.open(100.0)).clusters
        assert (cluster.idle_since, cluster.grow_s, cluster.changed_at) == (70.0, None, 70.0)
        # Its ledger begins there.
        assert [(a.what, found.seconds) for a, found in (await store.ledger(0, 1, 100.0)).items()] == [("idle", 30.0)]
    finally:
        await store.close()


async def test_migrating_leaves_logging_and_the_working_directory_alone(
    file: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    before = (logging.getLogger().handlers[:], logging.getLogger().level, Path.cwd())
    store = SqlStore(f"sqlite:///{file}")
    await store.open(0.0)
    await store.close()
    assert (logging.getLogger().handlers[:], logging.getLogger().level, Path.cwd()) == before
    assert capfd.readouterr() == ("", "")


def test_an_open_at_the_newest_schema_does_not_import_alembic(file: Path, tmp_path: Path) -> None:
    code = """
import asyncio, sys
from pool.store.sql import SqlStore

async def main():
    store = SqlStore(sys.argv[1])
    print((await store.open(0.0)).generation, "alembic" in sys.modules)
    await store.close()

asyncio.run(main())
"""
    root = Path(__file__).parents[2]
    runs = [
        subprocess.run(
            [sys.executable, "-c", code, f"sqlite:///{file}"],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(root)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.split()
        for _ in range(2)
    ]
    assert runs == [["1", "True"], ["2", "False"]]


def test_a_developer_can_write_the_next_revision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import shutil

    migrations = tmp_path / "migrations"
    shutil.copytree(schema._MIGRATIONS, migrations, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(schema, "_MIGRATIONS", migrations)
    url = f"sqlite:///{tmp_path}/old.sqlite"
    engine = create_engine(url)
    with engine.begin() as connection:
        schema.migrate(connection, "here")
        connection.exec_driver_sql("DROP INDEX ix_leases_asked_at_id")
    engine.dispose()
    schema.write_revision("more speed", url)
    [written] = migrations.glob(f"versions/{int(tables.SCHEMA) + 1:04d}*.py")
    assert "ix_leases_asked_at_id" in written.read_text()

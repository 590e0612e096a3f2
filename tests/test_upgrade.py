"""An upgrade to a version with a newer schema, and back: nothing is lost and the older version starts."""

from __future__ import annotations

import json
import shutil
import sqlite3
from pathlib import Path

import pytest

import pool
from tests.next.lay import lay
from tests.postgres import sql
from tests.serving import SIMULATED, WAIT_S, Served

ROOT = Path(pool.__file__).parents[1]


def next_version(directory: Path, *, breaks: bool = False) -> Path:
    """Return where the code of the next version is."""
    for package in ("pool", "policies"):
        shutil.copytree(ROOT / package, directory / package, ignore=shutil.ignore_patterns("__pycache__"))
    lay(directory / "pool", breaks=breaks)
    return directory


def leased(served: Served) -> list[str]:
    """Take and release a lease, and return the ids of all that ended."""
    assert served.run("lease", "--", "true").returncode == 0
    listed = json.loads(served.run("leases", "--state", "ended", "--json").stdout)
    return sorted(item["id"] for item in listed)


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_an_upgrade_with_a_migration_is_taken_back_and_made_again_without_a_loss(
    tmp_path: Path, kind: str, request: pytest.FixtureRequest
) -> None:
    config, home = SIMULATED, tmp_path / "home"
    url = request.getfixturevalue("postgres_url") if kind == "postgresql" else ""
    if url:
        config += f"store: {{url: '{url}'}}\n"
    newer = next_version(tmp_path / "next")
    known: list[str] = []
    for version in (None, newer, None, newer):
        with Served(home, config=config, path=version) as served:
            now = leased(served)
            assert len(now) == len(known) + 1
            assert set(known) < set(now)
            known = now
            assert served.end() == 0
        assert ("which can use it" in served.said()) == (version is None and len(known) == 3)
    filled = "SELECT count(*) FROM leases WHERE project <> ''"
    if url:
        found = int(sql(url, filled))
    else:
        with sqlite3.connect(home / "state" / "warmpool.sqlite") as database:
            (found,) = database.execute(filled).fetchone()
        database.close()
    assert found == 1, "the migration filled what was there; later rows have the default"


def test_an_older_version_refuses_a_schema_that_it_cannot_use_in_one_sentence(tmp_path: Path) -> None:
    with Served(tmp_path, path=next_version(tmp_path / "next", breaks=True)) as served:
        assert served.end() == 0
    older = Served(tmp_path)
    try:
        assert older.process.wait(WAIT_S) == 1
    finally:
        older.process.kill()
        older.process.wait()
    assert "and this version of warmpool knows schemas up to" in older.said()
    assert "Install the newer warmpool again, or restore a backup from before the upgrade." in older.said()
    assert "Traceback" not in older.said()

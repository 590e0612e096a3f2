"""Between two holders of a real cluster: what is stopped, what is found, and that nothing is overlooked."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from pool.backends.base import Clean
from pool.backends.local import census
from pool.backends.local.backend import LocalBackend
from pool.backends.local.processes import read
from pool.backends.local.trail import Files
from pool.core.events import Started

from .conftest import Bench, drive, make_cluster, make_key, submit, until

pytestmark = [pytest.mark.ray, pytest.mark.timeout(240)]

KEY = make_key(2)


@dataclass
class Leased:
    bench: Bench
    backend: LocalBackend
    started: Started

    async def reset(self) -> Clean:
        return await self.backend.reset(make_cluster(KEY, boot_id=self.started.boot_id), KEY)

    async def drive(self, code: str) -> str:
        return await drive(self.started, self.bench.files(self.started.cluster_id), code)


@pytest.fixture
async def leased() -> AsyncIterator[Leased]:
    bench = Bench(Path(tempfile.mkdtemp(prefix="wpt-", dir="/tmp")))
    backend = await bench.open(settle_s=30.0)
    yield Leased(bench, backend, await bench.start(backend, KEY))
    await bench.close()
    shutil.rmtree(bench.state_dir, ignore_errors=True)


async def test_what_a_holder_left_is_stopped_or_found(leased: Leased) -> None:
    """One cluster for all of it: a start costs more than everything else here."""
    assert await leased.reset() == Clean(True)

    # A driver that ended took its tasks and plain actors with it.
    await leased.drive("A = ray.remote(type('A', (), {'f': lambda self: 1}))\na = A.remote()\nray.get(a.f.remote())")
    assert await leased.reset() == Clean(True)

    # A process that a task left is ended.
    leave = "lambda: subprocess.Popen(['sleep', '1000'], start_new_session=True).pid"
    entry = read(int(await leased.drive(f"print(ray.get(ray.remote({leave}).remote()))")))
    assert await leased.reset() == Clean(True)
    assert entry is None or not entry.process.alive()

    # A submitted job is stopped, also one that never calls Ray.
    await submit(leased.started, "sleep 1000")
    assert await leased.reset() == Clean(True)

    # A driver that goes on cannot be stopped from outside.
    done = leased.bench.state_dir / "done"
    code = f"while not os.path.exists({str(done)!r}): time.sleep(0.1)"
    driver = asyncio.create_task(leased.drive(code))
    await busy(leased)
    leased.backend.options = replace(leased.backend.options, settle_s=0.5)
    found = await leased.reset()
    assert not found.clean
    assert "driver" in found.left
    leased.backend.options = replace(leased.backend.options, settle_s=30.0)
    done.touch()
    await driver
    assert await leased.reset() == Clean(True)

    # What was made to outlive its driver is removed from inside, and the objects that it owned go with it.
    await leased.drive(
        "pg = ray.util.placement_group([{'CPU': 1}], lifetime='detached', name='g')\nray.get(pg.ready())"
    )
    found = await leased.reset()
    assert found.clean, found.left
    assert found.removed[0].startswith("placement group 'g' of job")
    put = "lambda self: setattr(self, 'kept', ray.put(bytes(10_000_000)))"
    make = f"A = ray.remote(num_cpus=0)(type('A', (), {{'f': {put}}}))\n"
    make += "a = A.options(name='x', lifetime='detached').remote()\nray.get(a.f.remote())"
    await leased.drive(make)
    found = await leased.reset()
    assert found.clean, found.left
    assert found.removed[0].startswith("detached actor 'x' of job")
    # Two jobs did that, and the first one is forgotten.
    dashboard = next(iter(leased.backend._watch._watched.values())).dashboard
    jobs = await dashboard.get("/api/jobs/")
    assert len([job for job in jobs if str(job["submission_id"]).startswith("warmpool-")]) == 1

    # A lease of another run of the head is never proven clean.
    other = make_cluster(KEY, boot_id="another")
    assert not (await leased.backend.reset(other, KEY)).clean


PUT = """
from pool import resident
resident.put("kept", os.urandom(5_000_000))
"""
GET = "from pool import resident\nprint([entry.name for entry in resident.list()])"


async def test_resident_data_stays_for_the_group_and_goes_with_a_full_reset(leased: Leased) -> None:
    cluster = make_cluster(KEY, boot_id=leased.started.boot_id)
    await leased.drive(PUT)
    kept = await leased.backend.reset(cluster, KEY, full=False)
    assert kept == Clean(True, full=False)
    assert await leased.drive(GET) == "['kept']"

    # Whatever else outlives its driver goes all the same.
    await leased.drive("ray.remote(num_cpus=0)(type('A', (), {})).options(name='x', lifetime='detached').remote()")
    found = await leased.backend.reset(cluster, KEY, full=False)
    assert (found.clean, found.full) == (True, False), found.left
    assert [said.partition(" of job")[0] for said in found.removed] == ["detached actor 'x'"]
    assert await leased.drive(GET) == "['kept']"

    # For anybody else it is gone, and its memory seen free.
    gone = await leased.reset()
    assert (gone.clean, gone.full) == (True, True), gone.left
    assert gone.removed[0].startswith("detached actor 'resident-")
    assert await leased.drive(GET) == "[]"
    assert await leased.backend.reset(cluster, KEY, full=False) == Clean(True)


async def busy(leased: Leased) -> None:
    """Wait until the cluster has a live driver."""
    dashboard = next(iter(leased.backend._watch._watched.values())).dashboard
    async with asyncio.timeout(60):
        while (await dashboard.get("/api/component_activities"))["driver"]["is_active"] != "ACTIVE":  # noqa: ASYNC110
            await asyncio.sleep(0.1)


async def test_after_a_reset_workers_wait_for_the_next_holder(leased: Leased) -> None:
    cluster_id = leased.started.cluster_id

    def idle() -> int:
        return census.take(leased.bench.store_id, cluster_id, Files(leased.bench.files(cluster_id))).idle

    await leased.drive("ray.get(ray.remote(lambda: 1).remote())")
    assert await leased.reset() == Clean(True)
    await until(lambda: idle() == 2)
    # They are no reason to take the cluster for dirty, nor to start more of them.
    assert await leased.reset() == Clean(True)
    await asyncio.gather(*leased.backend._prestarts)
    assert idle() == 2

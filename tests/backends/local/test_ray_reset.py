"""Between two holders of a real cluster: what is stopped, what is found, and that nothing is overlooked."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from pool.backends.base import Clean
from pool.backends.local import census
from pool.backends.local.backend import LocalBackend
from pool.backends.local.processes import command as args
from pool.backends.local.processes import read, table
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

    async def drive(self, code: str, **options: Any) -> str:
        return await drive(self.started, self.bench.files(self.started.cluster_id), code, **options)


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

    # Also one that is nobody's child, in a session of its own, and without a trace of the cluster in its environment.
    hide = "lambda: subprocess.run(['setsid', '-f', 'env', '-i', 'sleep', '1001']).returncode"
    await leased.drive(f"assert ray.get(ray.remote({hide}).remote()) == 0")
    assert await until_seen("sleep 1001")
    assert await leased.reset() == Clean(True)
    assert not seen("sleep 1001")

    # What the driver of a submitted job started and did not wait for outlives the job.
    await submit(leased.started, "sleep 1003 & exit 0")
    assert await until_seen("sleep 1003")
    assert await leased.reset() == Clean(True)
    assert not seen("sleep 1003")

    # Files that its tasks wrote where they ran are removed and named, in Ray Train's directory too.
    write = "lambda: (os.makedirs('out/deep'), open('out/deep/a', 'w').write('xyz'), open('b', 'w').write('z'))"
    session = "os.path.join(ray._private.worker._global_node.get_session_dir_path(), 'artifacts', 'run')"
    await leased.drive(
        f"ray.get(ray.remote({write}).remote())\nos.makedirs({session})\nopen({session}+'/c', 'w').close()"
    )
    found = await leased.reset()
    assert found.clean, found.left
    assert [said.partition(" in ")[0] for said in found.removed] == ["2 files of 4 bytes", "1 file of 0 bytes"]
    assert found.removed[0].endswith(": b, out/deep/a")
    assert not [*leased.bench.files(leased.started.cluster_id).joinpath("work").iterdir()]

    # What Ray unpacked for a job goes with the job.
    code = leased.bench.state_dir / "code"
    code.mkdir()
    (code / "a.py").write_text("a = 1")
    where = await leased.drive(
        "print(ray.get(ray.remote(lambda: (open('new', 'w').close(), os.getcwd())[1]).remote()))",
        runtime_env={"working_dir": str(code)},
    )
    assert "working_dir_files" in where
    assert await leased.reset() == Clean(True)
    await until(lambda: not Path(where).exists())

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
    start = "lambda self: setattr(self, 'child', subprocess.Popen(['sleep', '1004'], start_new_session=True))"
    make = f"A = ray.remote(num_cpus=0)(type('A', (), {{'f': {put}, 'g': {start}}}))\n"
    make += "a = A.options(name='x', lifetime='detached').remote()\nray.get([a.f.remote(), a.g.remote()])\n"
    # One without a name: nobody can reach it any more, and it lives on.
    make += "ray.get(A.options(lifetime='detached').remote().g.remote())"
    await leased.drive(make)
    assert seen("sleep 1004")
    found = await leased.reset()
    assert found.clean, found.left
    said = sorted(one.partition(" of job")[0] for one in found.removed)
    assert said == ["detached actor 'A'", "detached actor 'x'"]
    # With the actors went their objects, and what they had started.
    assert found.wear is not None
    assert found.wear.store_left_bytes == 0
    assert not seen("sleep 1004")
    # No job of ours did that: Ray would never forget it.
    dashboard = next(iter(leased.backend._watch._watched.values())).dashboard
    jobs = await dashboard.get("/api/jobs/")
    assert not [job for job in jobs if str(job["submission_id"]).startswith("warmpool-")]

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


def seen(command: str) -> bool:
    """Tell whether a process with this command line runs."""
    return any(" ".join(args(pid)) == command for pid in table())


async def until_seen(command: str) -> bool:
    await until(lambda: seen(command))
    return True


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

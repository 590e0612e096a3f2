"""Real Ray clusters side by side, from start to stop."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from pathlib import Path
from typing import Any

import aiohttp
import psutil
import pytest

from pool.backends.local.trail import Files
from pool.core.errors import StartFailed
from pool.core.events import Started
from pool.core.reasons import Reason

from .conftest import Bench, drive, exists, make_cluster, make_key, submit, token_for, until

pytestmark = [pytest.mark.ray, pytest.mark.timeout(240)]

KEY = make_key(1)
WIDE = make_key(1, workers=[{"name": "w", "cpu": 1, "custom": {"disk": 3}}])


async def status(started: Started, path: str, token: str = "") -> int:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    async with aiohttp.ClientSession(headers=headers) as http, http.get(started.dashboard_url + path) as answer:
        return answer.status


async def test_two_clusters_run_side_by_side_and_refuse_each_others_token(bench: Bench) -> None:
    backend = await bench.open()
    one, two = await asyncio.gather(bench.start(backend, KEY), bench.start(backend, WIDE))
    assert {seen.cluster_id: seen.boot_id for seen in (await backend.list()).seen} == {
        one.cluster_id: one.boot_id,
        two.cluster_id: two.boot_id,
    }
    for mine, other in ((one, two), (two, one)):
        assert await status(mine, "/api/jobs/", token_for(mine.cluster_id)) == 200
        assert await status(mine, "/api/jobs/", token_for(other.cluster_id)) in (401, 403)
        assert await status(mine, "/api/jobs/") == 401

    # Both of the second one's nodes are there, with what was asked for; a driver and a job begin at once.
    code = """
import json, tempfile
print(json.dumps(ray.cluster_resources()))
print(*ray.get(ray.remote(lambda: (os.getcwd(), tempfile.mkdtemp())).remote()), sep="\\n")
"""
    resources, work, temporary = (await drive(two, bench.files(two.cluster_id), code)).splitlines()
    assert {"CPU": 2.0, "disk": 3.0}.items() <= json.loads(resources).items()
    assert work == str(bench.files(two.cluster_id) / "work")
    assert exists(temporary)
    await submit(one, "true")
    assert bench.phases[0] == "starting head"
    assert {"waiting for the dashboard", "workers 0 of 1", "checking"} <= {*bench.phases}

    # No secret is in anybody's command line.
    for processes in bench.processes().values():
        commands = [Path(f"/proc/{pid}/cmdline") for pid in processes]
        assert not any(b"token-of" in path.read_bytes() for path in commands if path.exists())

    # A daemon that died without a word: the next one finds both, and starts neither again.
    await backend.close()
    heir = await bench.open()
    assert (await bench.start(heir, KEY)).boot_id == one.boot_id

    # A lost worker node is a lost cluster: it no longer has the shape that was asked for.
    worker = Files(bench.files(two.cluster_id)).running().nodes["w-1"]
    worker.send(signal.SIGKILL)
    await until(lambda: bench.lost)
    assert (bench.lost[0].cluster_id, bench.lost[0].boot_id) == (two.cluster_id, two.boot_id)
    assert bench.lost[0].reason is Reason.PROCESS_GONE
    assert "w-1" in bench.lost[0].detail

    # So is one whose GCS alone died, long before its health is asked for again.
    head = Files(bench.files(one.cluster_id)).running().head
    assert head is not None
    (gcs,) = (child for child in psutil.Process(head.pid).children(recursive=True) if child.name() == "gcs_server")
    gcs.kill()
    await until(lambda: len(bench.lost) == 2)
    assert (bench.lost[1].cluster_id, bench.lost[1].reason) == (one.cluster_id, Reason.PROCESS_GONE)

    temp_dirs = [Files(bench.files(c.cluster_id)).trail().temp_dir for c in (one, two)]  # type: ignore[union-attr]
    await asyncio.gather(heir.stop(one.cluster_id), heir.stop(two.cluster_id))
    assert (await heir.list()).seen == ()
    assert bench.processes() == {}
    assert not [path for path in (*temp_dirs, temporary) if exists(path)]


START = """
import asyncio, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from conftest import Bench, make_key
async def main():
    bench = Bench(Path(sys.argv[2]), sys.argv[3])
    backend = await bench.open()
    bench.phases = type("Phases", (list,), {"append": lambda self, phase: print(phase, flush=True)})()
    await bench.start(backend, make_key(1))
asyncio.run(main())
"""


@pytest.fixture(params=["starting head", "waiting for the dashboard"])
async def killed_at(request: pytest.FixtureRequest, bench: Bench) -> str:
    """Another daemon, killed when its start of a cluster had come to a phase."""
    here = str(Path(__file__).parent)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", START, here, str(bench.state_dir), bench.store_id), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    async for line in process.stdout:
        if line.decode().strip() == request.param:
            process.kill()
            break
    await process.wait()
    return str(request.param)


async def test_a_start_whose_daemon_was_killed_is_stopped_without_a_trace(bench: Bench, killed_at: str) -> None:
    backend = await bench.open()
    (seen,) = (await backend.list()).seen
    assert seen.boot_id == ""
    temp_dir = Files(bench.files(seen.cluster_id)).trail().temp_dir  # type: ignore[union-attr]
    await backend.stop(seen.cluster_id)
    assert (await backend.list()).seen == ()
    assert bench.processes() == {}
    assert not exists(temp_dir)
    assert not bench.files(seen.cluster_id).exists()


async def test_a_start_that_a_daemon_left_is_finished_by_the_next_one_and_ends_when_none_comes(bench: Bench) -> None:
    first = await bench.open(unclaimed_s=8.0, claim_s=0.5)
    begun = asyncio.create_task(bench.start(first, KEY))
    await until(lambda: bench.phases and Files(bench.files(make_cluster(KEY).id)).running().head)
    head = Files(bench.files(make_cluster(KEY).id)).running().head
    begun.cancel()
    await asyncio.gather(begun, return_exceptions=True)
    await first.close()

    second = await bench.open(claim_s=0.5)
    started = await bench.start(second, KEY)
    assert head is not None
    assert f"-{head.pid}-{head.start}-" in started.boot_id
    stranger = await bench.open(store_id=f"{bench.store_id}-other")
    assert (await stranger.list()).seen == ()
    await stranger.stop(started.cluster_id)
    assert await status(started, "/api/jobs/", token_for(started.cluster_id)) == 200

    # Nobody claims it any more: it ends itself, and cleans up.
    await second.close()
    await until(lambda: not bench.processes() and not exists(bench.files(started.cluster_id)))


async def test_a_failed_start_says_its_cause(bench: Bench) -> None:
    backend = await bench.open()
    key = make_key(head={"start_params": {"resources": "{rubbish"}})
    with pytest.raises(
        StartFailed, match=r"head exited with code 1 .*--resources=\{rubbish` is not a valid JSON"
    ) as failed:
        await bench.start(backend, key)
    assert failed.value.reason is Reason.START_FAILED
    assert len(failed.value.detail) < 1500
    await backend.stop(make_cluster(key).id)
    assert bench.processes() == {}


async def test_a_port_that_somebody_takes_meanwhile_costs_another_try(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = await bench.open()
    taken = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0)
    port = taken.sockets[0].getsockname()[1]
    real: Any = backend._home._ports.take
    calls: list[int] = []

    def take(cluster_id: str, count: int) -> Any:
        calls.append(count)
        ports = list(real(cluster_id, count))
        # The third is the dashboard's.
        return iter([*ports[:2], port, *ports[3:]] if len(calls) == 1 else ports)

    monkeypatch.setattr(backend._home._ports, "take", take)
    async with taken:
        started = await bench.start(backend, KEY)
    assert len(calls) == 2
    assert str(port) not in started.dashboard_url

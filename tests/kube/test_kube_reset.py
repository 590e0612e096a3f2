"""The life of a real RayCluster: created, and between two holders what is left in its pods goes, then deleted."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest

from pool.backends.base import Clean
from pool.backends.kuberay.backend import KuberayBackend
from pool.backends.rayapi.dashboard import Dashboard
from pool.backends.rayapi.inside import is_sweeper
from pool.core.events import Started
from pool.kube.api import CORE, Api
from tests.kube.kit import cluster_of, small, submit

pytestmark = [pytest.mark.kube, pytest.mark.timeout(240)]

KEY = small(workers=1)
ACTOR = "ray.remote(num_cpus=0)(type('A', (), {'f': lambda self: setattr(self, 'kept', ray.put(bytes(10_000_000)))}))"
ON_WORKER = (
    "from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy as On;"
    "node = [n for n in ray.nodes() if 'node:__internal_head__' not in n['Resources']][0]['NodeID'];"
    "run = lambda f: ray.get(ray.remote(num_cpus=0)(f).options(scheduling_strategy=On(node, soft=False)).remote());"
)
# Nobody's child: it forks twice, as a daemon does.
DAEMON = "subprocess.Popen(['setsid', '-f', 'sleep', '1002'])"
# What sweeps the cluster, by its text (which a driver that looks for it must not have in its own).
KILL_SWEEPER = (
    "import glob, os;"
    "named = [(p.split('/')[2], open(p, 'rb').read()) for p in glob.glob('/proc/[0-9]*/cmdline')];"
    "[os.kill(int(pid), 9) for pid, text in named if b'b85' + b'decode' in text]"
)


class Held:
    """A cluster that is used and reset."""

    def __init__(self, backend: KuberayBackend, started: Started) -> None:
        self.backend, self.started = backend, started
        self.cluster = cluster_of(KEY, boot_id=started.boot_id)

    async def drive(self, body: str) -> None:
        token = f"token-of-{self.cluster.id}-{'x' * 20}"
        code = f'python -c "import ray, subprocess, time; ray.init(); {body}"'
        assert await submit(self.started.dashboard_url, token, code) == "SUCCEEDED"

    async def sweepers(self) -> list[str]:
        token = f"token-of-{self.cluster.id}-{'x' * 20}"
        async with aiohttp.ClientSession() as http:
            jobs = await Dashboard(http, self.started.dashboard_url, token).get("/api/jobs/")
        return [job["submission_id"] for job in jobs if is_sweeper(job)]

    async def reset(self) -> Clean:
        return await self.backend.reset(self.cluster, KEY)


async def test_a_cluster_is_created_used_reset_adopted_and_deleted_with_four_writes_at_most(
    backend: KuberayBackend, namespace: str, api: Api
) -> None:
    held = Held(backend, await created(backend))
    await what_a_holder_left_is_removed_and_named(held)
    assert await backend.start(held.cluster, KEY, lambda phase: None) == held.started
    await backend.stop(held.cluster.id)
    assert (await backend.list()).seen == ()
    # RayCluster, Secret, deletion; and one more where KubeRay (1.5) made a Secret of its own in between.
    assert backend.writes in (3, 4)
    async with asyncio.timeout(30):
        while (await api.get(f"{CORE}/namespaces/{namespace}/secrets"))["items"]:  # noqa: ASYNC110 - another's doing
            await asyncio.sleep(0.2)


async def created(backend: KuberayBackend) -> Started:
    """Start the cluster, which tells how far it is."""
    phases: list[str] = []
    started = await backend.start(cluster_of(KEY), KEY, phases.append)
    course = ["creating", "admitted", "scheduling", "pulling image", "starting head", "workers 0 of 1", "checking"]
    assert [phase for phase in phases if phase not in course] == []
    firsts = list(dict.fromkeys(phases))
    assert sorted(firsts, key=course.index) == firsts
    assert {"creating", "pulling image", "starting head", "workers 0 of 1", "checking"} <= set(phases)
    assert (await backend.list()).seen[0].boot_id == started.boot_id
    return started


async def what_a_holder_left_is_removed_and_named(held: Held) -> None:
    """Leave all there is to leave, in both pods; what only a process listing shows, too."""
    found = await held.reset()
    assert found == Clean(True)
    assert found.wear is not None
    assert found.wear.head_memory_bytes > 10_000_000
    assert 3 < found.wear.open_files < 10_000
    # The job of the first reset stays for the others.
    sweeper = await held.sweepers()
    assert len(sweeper) == 1

    # A detached actor with an object, and one without a name whose subprocess is on its own; a placement group; what
    # two forks hide, on the head by the driver and in the worker's pod by a task; files on either node.
    start = "lambda self: setattr(self, 'child', subprocess.Popen(['sleep', '1004'], start_new_session=True))"
    nameless = f"ray.remote(num_cpus=0)(type('B', (), {{'g': {start}}})).options(lifetime='detached').remote()"
    await held.drive(
        f"a = {ACTOR}.options(name='kept', lifetime='detached').remote(); ray.get(a.f.remote());"
        f"ray.get({nameless}.g.remote());"
        "g = ray.util.placement_group([{'CPU': 1}], lifetime='detached', name='g'); ray.get(g.ready());"
        f"{DAEMON}; open('left', 'w').write('x');"
        f"{ON_WORKER} run(lambda: {DAEMON.replace('1002', '1003')}.wait()); run(lambda: open('left', 'w').write('yy'))"
    )
    # A submitted job is stopped, also one that never calls Ray.
    token = f"token-of-{held.cluster.id}-{'x' * 20}"
    begun = asyncio.Event()
    running = asyncio.create_task(submit(held.started.dashboard_url, token, "sleep 1000", begun))
    await begun.wait()
    found = await held.reset()
    assert found.clean, found.left
    assert await running in ("STOPPED", "FAILED", "SUCCEEDED")
    for said in ("detached actor 'kept' of job", "detached actor 'B' of job", "placement group 'g' of job"):
        assert any(one.startswith(said) for one in found.removed), found.removed
    for number, where in (("1002", "head"), ("1003", "node")):
        hidden = [one for one in found.removed if one.startswith(f"process 'sleep {number}'")]
        assert hidden, found.removed
        assert where in hidden[0].rpartition(" on the ")[2]
    files = sorted(one for one in found.removed if "bytes in" in one)
    assert [one.partition(" bytes in ")[0] for one in files] == ["1 file of 1", "1 file of 2"]
    assert ": left on the " in files[0]
    # With the actor went its object.
    assert found.wear is not None
    assert found.wear.store_left_bytes == 0

    assert await held.sweepers() == sweeper

    # Ray's own are spared: the next holder finds all of it in order.
    look = "lambda: subprocess.run('cat /proc/[0-9]*/cmdline', shell=True, capture_output=True).stdout"
    await held.drive(
        f"import os; assert not os.path.exists('left'); {ON_WORKER} assert not run(lambda: os.path.exists('left'));"
        f"assert b'sleep' not in run({look}).replace(b'cat', b'')"
    )
    assert (await held.reset()).clean

    # A holder who ends all that he finds costs the next reset the start of a job.
    await held.drive(KILL_SWEEPER)
    assert (await held.reset()).clean
    assert len(await held.sweepers()) == 1
    assert await held.sweepers() != sweeper

"""Between two holders of a real RayCluster: what is left in its pods goes, also what only a process listing shows."""

from __future__ import annotations

import pytest

from pool.backends.base import Clean
from pool.backends.kuberay.backend import KuberayBackend
from pool.core.events import Started
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


class Held:
    """A cluster that is used and reset."""

    def __init__(self, backend: KuberayBackend, started: Started) -> None:
        self.backend, self.started = backend, started
        self.cluster = cluster_of(KEY, boot_id=started.boot_id)

    async def drive(self, body: str) -> None:
        token = f"token-of-{self.cluster.id}-{'x' * 20}"
        code = f'python -c "import ray, subprocess, time; ray.init(); {body}"'
        assert await submit(self.started.dashboard_url, token, code) == "SUCCEEDED"

    async def reset(self) -> Clean:
        return await self.backend.reset(self.cluster, KEY)


async def test_what_a_holder_left_in_the_pods_is_removed_and_named(backend: KuberayBackend) -> None:
    held = Held(backend, await backend.start(cluster_of(KEY), KEY, lambda phase: None))
    assert await held.reset() == Clean(True)

    await held.drive(f"a = {ACTOR}.options(name='kept', lifetime='detached').remote(); ray.get(a.f.remote())")
    found = await held.reset()
    assert found.clean, found.left
    assert found.removed[0].startswith("detached actor 'kept' of job")

    await held.drive("g = ray.util.placement_group([{'CPU': 1}], lifetime='detached', name='g'); ray.get(g.ready())")
    found = await held.reset()
    assert found.clean, found.left
    assert found.removed[0].startswith("placement group 'g' of job")

    # Of the head, by the driver; and of the worker's pod, by a task.
    await held.drive(f"{DAEMON}; {ON_WORKER} run(lambda: {DAEMON.replace('1002', '1003')}.wait())")
    found = await held.reset()
    assert found.clean, found.left
    assert any(said.startswith("process 'sleep 1002'") and said.endswith("on the head") for said in found.removed)

    # Ray's own are spared: the next holder finds all of it in order.
    look = "lambda: subprocess.run('cat /proc/[0-9]*/cmdline', shell=True, capture_output=True).stdout"
    await held.drive(f"{ON_WORKER} assert b'sleep' not in run({look}).replace(b'cat', b'')")
    assert (await held.reset()).clean
    await backend.stop(held.cluster.id)

"""The daemon as it is served, with real Ray clusters: leases, kills at every side, and nothing left behind."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import httpx
import psutil
import pytest

from pool.client import Client, Lease, LeaseLost, LeaseRequest
from pool.core.reasons import Reason
from tests.homes import Home, a_home, listed, until
from tests.serving import Served, environment

pytestmark = pytest.mark.ray

SESSION = "import ray; ray.init(log_to_driver=False); print(ray.get_runtime_context().gcs_address)"


@pytest.fixture
def home() -> Iterator[Home]:
    with a_home() as made:
        yield made


def client_of(served: Served) -> Client:
    return Client(served.url, token_file=served.state_dir / "operator.token")


def ask(holder: str, **fields: Any) -> LeaseRequest:
    return LeaseRequest(image="local", tenant="me/dev", holder=holder, shape={"head": {"cpu": 1}}, **fields)


def session_of(lease: Lease) -> str:
    """Run a driver on the leased cluster and return the address that it found itself on."""
    env = {**environment(), **lease.environment()}
    done = subprocess.run([sys.executable, "-c", SESSION], env=env, capture_output=True, text=True, timeout=90)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip().splitlines()[-1]


def test_two_tasks_in_a_row_run_on_one_cluster(home: Home) -> None:
    with home.serve() as served:
        first = served.run("lease", "--tenant", "me/dev", "--", sys.executable, "-c", SESSION, timeout_s=120)
        assert first.returncode == 0, first.stderr
        assert until(lambda: [c["state"] for c in listed(served, "clusters")] == ["idle"])
        second = served.run("lease", "--tenant", "me/dev", "--", sys.executable, "-c", SESSION, timeout_s=120)
        assert second.returncode == 0, second.stderr
        assert first.stdout == second.stdout
        assert [lease["outcome"] for lease in listed(served, "leases")] in ([], ["cold", "hit"], ["hit", "cold"])
        (cluster,) = listed(served, "clusters")
        assert cluster["uses"] == 2


CONNECTS = """
import os, ray, pool
for holder, cpus in (("first", 1), ("second", 2)):
    with pool.lease(image="local", tenant="me/dev", holder=holder, shape={"head": {"cpu": cpus}}) as lease:
        lease.connect()
        print(int(ray.cluster_resources()["CPU"]), ray.get(ray.remote(lambda: 7).remote()))
    assert not ray.is_initialized() and "RAY_AUTH_TOKEN" not in os.environ
"""


def test_a_process_that_imported_ray_before_connects_to_one_leased_cluster_after_another(home: Home) -> None:
    with home.serve() as served:
        env = environment() | {
            "WARMPOOL_URL": served.url,
            "WARMPOOL_TOKEN_FILE": str(served.state_dir / "client.token"),
        }
        done = subprocess.run([sys.executable, "-c", CONNECTS], env=env, capture_output=True, text=True, timeout=180)
        assert (done.returncode, done.stdout.splitlines()) == (0, ["1 7", "2 7"]), done.stderr
        assert until(lambda: {c["state"] for c in listed(served, "clusters")} == {"idle"}), "both were proven clean"


PUTS = """
import ray
from pool import resident
ray.init(log_to_driver=False)
resident.put("weights", bytes(5_000_000))
"""
GETS = """
import ray
from pool import resident
ray.init(log_to_driver=False)
assert len(resident.get("weights")) == 5_000_000
"""


def test_what_a_command_keeps_under_its_lease_is_known_to_the_daemon_and_goes_to_the_next_of_its_group(
    home: Home,
) -> None:
    with home.serve() as served:
        for script in (PUTS, GETS):
            command = ("lease", "--tenant", "me/dev", "--group", "run", "--", sys.executable, "-c", script)
            done = served.run(*command, timeout_s=120)
            assert done.returncode == 0, done.stderr
            (cluster,) = listed(served, "clusters")
            assert [value["name"] for value in cluster["resident"]] == ["weights"]
        assert cluster["uses"] == 2
        told = served.run("explain", cluster["id"]).stdout
        assert "It holds 5.0 MB of resident data of group run: weights." in told
        metrics = httpx.get(
            f"{served.url}/metrics",
            headers={"Authorization": f"Bearer {(served.state_dir / 'metrics.token').read_text().strip()}"},
        ).text
        assert 'warmpool_resident_reads_total{pool="default",source="local"} 1.0' in metrics


def test_a_killed_holder_loses_its_lease_and_its_cluster_is_recycled(home: Home) -> None:
    with home.serve() as served:
        command = [
            sys.executable,
            "-m",
            "pool.cli",
            "--state-dir",
            str(served.state_dir),
            "lease",
            "--tenant",
            "me/dev",
        ]
        holder = subprocess.Popen(
            [*command, "--", sys.executable, "-c", "import time; time.sleep(600)"],
            env=environment(), start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        assert until(lambda: [c["state"] for c in listed(served, "clusters")] == ["leased"], 90)
        (before,) = listed(served, "clusters")
        os.killpg(holder.pid, signal.SIGKILL)
        holder.wait()
        assert until(lambda: before["id"] not in [c["id"] for c in listed(served, "clusters")], 60)
        assert until(lambda: not home.processes(cluster_id=before["id"]))
        with client_of(served) as client, client.lease(ask("next")) as lease:
            assert lease.cluster.id != before["id"]


def test_two_daemons_side_by_side_never_touch_each_others_clusters(home: Home) -> None:
    with (
        home.serve("a") as a,
        home.serve("b", "--stop-clusters") as b,
        client_of(a) as client,
        client_of(b) as other,
        client.lease(ask("of a")) as lease,
    ):
        with other.lease(ask("of b")) as beside:
            assert beside.cluster.id == lease.cluster.id  # the same key: only the stores differ
            assert beside.cluster.address != lease.cluster.address
        assert b.end() == 0
        assert until(lambda: not home.processes("b"))
        assert session_of(lease) == lease.cluster.address
        lease.check()


def test_a_killed_daemon_leaves_leases_and_clusters_to_the_next_one(home: Home) -> None:
    with home.serve() as served, client_of(served) as client:
        with client.lease(ask("survivor")) as lease:
            served.end(signal.SIGKILL)
            with home.serve() as again:
                assert until(lambda: lease.state == "active" and lease.remaining_s > 5)
                lease.check()
                (cluster,) = listed(again, "clusters")
                assert (cluster["id"], cluster["epoch"]) == (lease.cluster.id, lease.epoch)
                assert session_of(lease) == lease.cluster.address
                lease.release()
                assert until(lambda: [c["state"] for c in listed(again, "clusters")] == ["idle"])
                with client.lease(ask("next")) as hit:
                    assert (hit.outcome, hit.cluster.id) == ("hit", lease.cluster.id)
                again.run("drain", lease.cluster.id)
                # Killed while it stops the cluster: the next one finishes it.
                again.end(signal.SIGKILL)
        with home.serve() as third:
            assert until(lambda: listed(third, "clusters") == [])
            assert until(lambda: not home.processes())


def test_a_daemon_killed_during_a_start_finishes_it_after_its_restart(home: Home) -> None:
    with home.serve() as served, client_of(served) as client:
        phases: list[str] = []
        killed: list[Served] = []

        def kill_once(progress: Any) -> None:
            phases.append(progress.phase)
            if "head" in progress.phase and not killed:
                served.end(signal.SIGKILL)
                killed.append(home.serve())

        with client.lease(ask("patient"), progress=kill_once) as lease:
            assert killed, phases
            assert lease.cluster.id.endswith("-1")
            assert session_of(lease) == lease.cluster.address
        with killed[0] as again:
            assert [c["id"] for c in listed(again, "clusters")] == [lease.cluster.id]


def test_a_cluster_killed_under_its_lease_is_told_to_the_holder_and_replaced(home: Home) -> None:
    with home.serve() as served, client_of(served) as client:
        # By hand, not with `lease`: the loss is what is looked for, not an error.
        lease = client.acquire(ask("unlucky"))
        for process in home.processes(cluster_id=lease.cluster.id):
            with contextlib.suppress(psutil.Error):
                process.kill()
        assert lease.wait_lost(30)
        with pytest.raises(LeaseLost) as told:
            lease.check()
        assert told.value.reason is Reason.CLUSTER_LOST
        with client.lease(ask("next")) as replaced:
            assert replaced.cluster.id != lease.cluster.id

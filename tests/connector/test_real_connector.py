"""Recorded requests of real backends, through Flyte's own client stub, on a real Ray cluster."""

from __future__ import annotations

import contextlib
import json
import re
import time
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import psutil
import pytest
from flyteidl.admin import agent_pb2
from flyteidl2.connector import connector_pb2

from pool.client import Client, LeaseRequest
from pool.connector.task import plan_of
from pool.inside import runner
from pool.wire.leases import ClusterAccess
from tests.connector.conftest import Connector, phase_of
from tests.connector.requests import STEP1, outputs1, outputs2, request1, request2
from tests.homes import listed, until
from tests.serving import Served

pytestmark = [pytest.mark.ray, pytest.mark.flyte, pytest.mark.xdist_group("connector")]

UNPACKED = re.compile(r"/wp-[^/]+/.*/working_dir_files/")

SLEEPS = """
import os, time
from pathlib import Path
from flytekit import task
from flytekitplugins.ray import RayJobConfig, WorkerNodeConfig

@task(task_config=RayJobConfig(worker_node_config=[WorkerNodeConfig("w", 1)]))
def step(x: int) -> int:
    store = Path(os.environ["STORE"])
    with (store / "began").open("a") as began:
        began.write("x")
    while not (store / "go").exists():
        time.sleep(0.05)
    return x + 1
"""


KEEPS = """
import ray
from flytekit import task
from flytekitplugins.ray import RayJobConfig, WorkerNodeConfig
from pool import resident

@task(task_config=RayJobConfig(worker_node_config=[WorkerNodeConfig("w", 1)]))
def step(x: int) -> int:
    resident.put("weights", bytes(5_000_000))
    return x + 1
"""


def leases(served: Served, request: Any) -> list[dict[str, Any]]:
    holder = plan_of(request).holder
    return [lease for lease in listed(served, "leases") if lease["holder"] == holder]


def waits(store: Path, attempt: str) -> Any:
    """Return a request whose task waits for a file of the test."""
    request = request1(store, attempt, SLEEPS)
    request.template.container.env.add(key="STORE", value=str(store))
    return request


def test_flyte_1s_recorded_task_runs_on_a_leased_cluster_and_its_outputs_are_where_flyte_looks(
    connector: Connector, served: Served, tmp_path: Path
) -> None:
    request = request1(tmp_path / "store")
    meta = connector.create(request)
    done = connector.until(meta, "SUCCEEDED")
    assert outputs1(request) == {"o0": 46}
    assert done.custom_info["how"] == "warm_interpreter", done.message
    assert [link.name for link in done.log_links] == ["Ray dashboard", "Log of the task"]
    assert done.custom_info["cluster"].startswith("c-")
    assert leases(served, request) == []
    # Asked again it tells the same, and nothing runs again.
    written = (Path(request.output_prefix) / "outputs.pb").stat().st_mtime_ns
    assert connector.create(request) == meta
    connector.until(meta, "SUCCEEDED")
    assert (Path(request.output_prefix) / "outputs.pb").stat().st_mtime_ns == written


def test_flyte_2s_recorded_task_runs_on_the_same_cluster_and_its_outputs_are_where_flyte_looks(
    served: Served, tmp_path: Path
) -> None:
    variables = tmp_path / "variables"
    variables.mkdir()
    # As a backend tells its pods where it is. Here is none: the SDK is told that this process starts no other task.
    (variables / "_U_EP_OVERRIDE").write_text("127.0.0.1:9")
    (variables / "_U_INSECURE").write_text("true")
    (variables / "FLYTE_CLUSTERED_WORKER").write_text("1")
    with Connector(served, tmp_path, "--env-dir", str(variables)) as connector:
        request = request2(tmp_path / "store")
        # Whatever image a key names, local clusters run in this environment.
        request.template.container.image = request1(tmp_path / "one").template.container.image
        # A directory is no bucket: Flyte 2's SDK writes into it and does not make it.
        Path(request.output_prefix).mkdir(parents=True, exist_ok=True)
        meta = connector.create(request)
        connector.until(meta, "SUCCEEDED")
        assert outputs2(request) == {"o0": 42}
        done = connector.get2(meta)
        assert phase_of(done) == "SUCCEEDED"
        assert [link.name for link in done.log_links] == ["Ray dashboard", "Log of the task"]
        category = connector_pb2.TaskCategory(name="ray")
        asked = connector_pb2.DeleteTaskRequest(task_category=category, resource_meta=meta)
        connector.tasks2.DeleteTask(asked, timeout=10)


@pytest.mark.parametrize("how", [(), ("--ray-jobs",)])
def test_the_links_of_a_task_lead_to_its_output(served: Served, tmp_path: Path, how: tuple[str, ...]) -> None:
    store = tmp_path / "store"
    request = request1(
        store,
        f"7-{len(how)}",
        SLEEPS.replace("    while not", "    print('said by the task', flush=True)\n    while not"),
    )
    request.template.container.env.add(key="STORE", value=str(store))
    with Connector(served, tmp_path, *how) as connector:
        meta = connector.create(request)
        connector.until(meta, "RUNNING")
        assert until(lambda: (store / "began").exists())
        dashboard, log = ((link.name, link.uri) for link in connector.get(meta).log_links)
        assert [(link.name, link.uri) for link in connector.get2(meta).log_links] == [dashboard, log]
        lines = [part for tasks, messages in ((connector.tasks, agent_pb2), (connector.tasks2, connector_pb2))
                 for answer in tasks.GetTaskLogs(messages.GetTaskLogsRequest(resource_meta=meta), timeout=10)
                 for part in answer.body.results]  # fmt: skip
        assert lines.count("said by the task") == 2
        page, token = dashboard[1], cluster_of(served, plan_of(request)).token
        shown = httpx.get(f"{page}/").text
        assert "Ray Dashboard" in shown
        # What the dashboard's page then asks for what stands behind the #.
        [script] = re.findall(r'src="[./]*(static/js/main[^"]*)"', shown)
        pages = httpx.get(f"{page}/{script}").text
        place = urlsplit(log[1].removeprefix(f"{page}/#"))
        if how:
            asked = f"/api/jobs/{place.path.removeprefix('/jobs/')}/logs"
        else:
            assert place.path == "/logs/viewer"
            assert all(word in pages for word in ('"viewer?nodeId="', '"&fileName="', "api/v0/logs/file?"))
            named = {name: values[0] for name, values in parse_qs(place.query).items()}
            asked = f"/api/v0/logs/file?node_id={named['nodeId']}&filename={named['fileName']}&lines=1000"
        answer = httpx.get(page + asked, headers={"Authorization": f"Bearer {token}"})
        assert answer.status_code == 200
        assert "said by the task" in answer.text
        # To a stranger it says nothing.
        assert "said by the task" not in httpx.get(page + asked).text
        (store / "go").touch()
        connector.until(meta, "SUCCEEDED")


IMPORTS = """
from flytekit import task
from flytekitplugins.ray import RayJobConfig, WorkerNodeConfig

@task(task_config=RayJobConfig(worker_node_config=[WorkerNodeConfig("w", 1)]))
def step(x: int) -> int:
    import sys, time
    assert "sqlalchemy" not in sys.modules
    began = time.monotonic()
    import sqlalchemy
    return int(1e6 * (time.monotonic() - began))
"""


def test_what_a_task_imported_the_next_one_has_at_once(connector: Connector, tmp_path: Path) -> None:
    requests = [request1(tmp_path / "store", str(number), IMPORTS) for number in (1, 2)]
    first = connector.until(connector.create(requests[0]), "SUCCEEDED").custom_info
    assert first["how"] == "warm_interpreter", (dict(first), connector.log.read_text())
    assert "sqlalchemy" in first["imported"].split()
    assert until(lambda: "preloaded sqlalchemy," in log_of(first["runner"]))
    second = connector.until(connector.create(requests[1]), "SUCCEEDED").custom_info
    assert second["runner"] == first["runner"]
    assert "sqlalchemy" in second["preloaded"].split()
    took_us = [outputs1(request)["o0"] for request in requests]
    print(f"import sqlalchemy: {took_us[0] / 1e3:.1f} ms, and {took_us[1] / 1e3:.1f} ms once it was preloaded")
    assert took_us[1] * 10 < took_us[0]


def log_of(runner: str) -> str:
    """Return what a warm interpreter on this machine has written."""
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            log = (folder / "fd/1").readlink()
            if log.name == f"job-driver-{runner}.log":
                return log.read_text()
    return ""


def test_a_warm_interpreter_stays_for_the_next_lease_and_what_a_task_left_does_not(
    connector: Connector, served: Served, tmp_path: Path
) -> None:
    pids = tmp_path / "pids"
    leaving = SLEEPS.replace(
        "    while not",
        "    import subprocess\n"
        "    child = subprocess.Popen(['sleep', '600'], start_new_session=True)\n"
        f"    Path({str(pids)!r}).write_text(str(child.pid))\n    while not",
    )
    first = request1(tmp_path / "first", "0", leaving)
    first.template.container.env.add(key="STORE", value=str(tmp_path))
    (tmp_path / "go").touch()
    one = connector.until(connector.create(first), "SUCCEEDED")
    two = connector.until(connector.create(request1(tmp_path / "second", "1")), "SUCCEEDED")
    assert one.custom_info["how"] == two.custom_info["how"] == "warm_interpreter", one.message
    assert one.custom_info["runner"] == two.custom_info["runner"]
    assert one.custom_info["cluster"] == two.custom_info["cluster"]
    assert not psutil.pid_exists(int(pids.read_text()))


def test_a_task_of_the_same_code_finds_a_worker_that_was_started_for_it(
    connector: Connector, served: Served, tmp_path: Path
) -> None:
    where = STEP1.replace("return beside_it.more(x)", "import os; return os.getpid()")
    first, second = (request1(tmp_path / "store", str(number), where) for number in (1, 2))
    one = connector.until(connector.create(first), "SUCCEEDED")
    used = outputs1(first)["o0"]
    assert until(lambda: waiting() - {used})
    ready = waiting() - {used}
    connector.until(connector.create(second), "SUCCEEDED")
    used = outputs1(second)["o0"]
    assert used in ready
    # For who is not of that execution the cluster is reset, and nothing of its code stays.
    assert until(lambda: waiting() - {used})
    with_code = waiting()
    third = request1(tmp_path / "another", "3")
    third.task_execution_metadata.task_execution_id.node_execution_id.execution_id.name = "another"
    done = connector.until(connector.create(third), "SUCCEEDED")
    assert done.custom_info["cluster"] == one.custom_info["cluster"]
    assert not waiting() & with_code


def waiting() -> set[int]:
    """Return the process ids of the local clusters' workers that are idle and have the code of that test."""
    found = set()
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.cmdline()[:1] == ["ray::IDLE"] and UNPACKED.search(process.cwd()):
                code = Path(process.cwd(), "chain.py")
                # Those of other tests' tasks may wait on the same cluster.
                if code.exists() and "getpid" in code.read_text():
                    found.add(process.pid)
    return found


def test_what_cannot_run_in_a_warm_interpreter_runs_as_a_ray_job_and_says_why(
    connector: Connector, tmp_path: Path
) -> None:
    request = request1(tmp_path / "store")
    request.template.custom["runtimeEnvYaml"] = "env_vars: {A: b}"
    done = connector.until(connector.create(request), "SUCCEEDED")
    assert outputs1(request) == {"o0": 46}
    assert (done.custom_info["how"], done.custom_info["how_reason"]) == ("ray_job", "runtime_env")
    request = request1(tmp_path / "another", "1")
    request.template.container.args.append("| cat")
    done = connector.until(connector.create(request), "SUCCEEDED")
    assert (done.custom_info["how"], done.custom_info["how_reason"]) == ("ray_job", "needs_shell")


def test_a_task_that_raises_leaves_its_error_where_flyte_looks(connector: Connector, tmp_path: Path) -> None:
    request = request1(tmp_path / "store", step=SLEEPS.replace('os.environ["STORE"]', 'os.environ["NONE"]'))
    connector.until(connector.create(request), "SUCCEEDED")
    assert b"KeyError" in (Path(request.output_prefix) / "error.pb").read_bytes()


def test_a_command_that_cannot_run_is_a_failure_that_may_be_retried_and_shows_its_log(
    connector: Connector, tmp_path: Path
) -> None:
    request = request1(tmp_path / "store")
    request.template.container.args[0] = "no-such-command"
    done = connector.until(connector.create(request), "RETRYABLE_FAILED")
    assert "no-such-command" in done.message


def test_a_killed_connectors_successor_goes_on_with_the_same_lease_and_job(served: Served, tmp_path: Path) -> None:
    store = tmp_path / "store"
    request = waits(store, "1")
    first = Connector(served, tmp_path)
    try:
        meta = first.create(request)
        first.until(meta, "RUNNING")
        assert until(lambda: (store / "began").exists())
        [lease] = leases(served, request)
    finally:
        first.end("kill")
    # A Secret was changed meanwhile: later tasks have it, in another interpreter.
    variables = tmp_path / "variables"
    variables.mkdir()
    (variables / "CHANGED").write_text("since")
    with Connector(served, tmp_path, "--env-dir", str(variables)) as second:
        # Nobody asks it for the attempt, for longer than the lease lives without renewals (10 s).
        time.sleep(12)
        assert [one["id"] for one in leases(served, request)] == [lease["id"]]
        # The backend asks for the creation again, since it may not have heard of it.
        assert second.create(request) == meta
        second.until(meta, "RUNNING")
        (store / "go").touch()
        second.until(meta, "SUCCEEDED")
    assert outputs1(request) == {"o0": 6}
    assert (store / "began").read_text() == "x"
    with Connector(served, tmp_path) as third:
        # The lease is over: how it ended is known to the pool.
        third.until(meta, "SUCCEEDED")


def test_an_abort_gives_the_cluster_back_and_may_come_again(
    connector: Connector, served: Served, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    request = waits(store, "2")
    meta = connector.create(request)
    connector.until(meta, "RUNNING")
    assert until(lambda: (store / "began").exists())
    connector.delete(meta)
    assert leases(served, request) == []
    connector.delete(meta)
    connector.until(meta, "ABORTED")
    # Also one of which nothing was ever heard.
    connector.delete(connector_meta(tmp_path))
    # Its job is gone with it: nobody else has to wait for more than a reset.
    connector.until(connector.create(request1(tmp_path / "next", "3")), "SUCCEEDED")
    assert not (Path(request.output_prefix) / "outputs.pb").exists()


def connector_meta(tmp_path: Path) -> bytes:
    return plan_of(request1(tmp_path / "other", "9")).encode()


@pytest.mark.parametrize("how", [(), ("--ray-jobs",)])
def test_secrets_are_neither_in_rays_job_list_nor_in_the_meta(
    served: Served, tmp_path: Path, how: tuple[str, ...]
) -> None:
    store, variables = tmp_path / "store", tmp_path / "variables"
    variables.mkdir()
    (variables / "FLYTE_AWS_SECRET_ACCESS_KEY").write_text("the-operators-secret\n")
    request = waits(store, f"4-{len(how)}")
    request.template.container.env.add(key="MINE", value="the-authors-secret")
    with Connector(served, tmp_path, "--env-dir", str(variables), *how) as connector:
        meta = connector.create(request)
        connector.until(meta, "RUNNING")
        assert until(lambda: (store / "began").exists())
        [lease] = leases(served, request)
        told = jobs_of(served, plan_of(request))
        (store / "go").touch()
        connector.until(meta, "SUCCEEDED")
        log = connector.log.read_text()
    assert lease["cluster"]
    assert (plan_of(request).id if how else runner.PREFIX) in told
    for secret in ("the-operators-secret", "the-authors-secret"):
        assert secret not in told
        assert secret not in log
    assert "the-operators-secret" not in meta.decode()


def cluster_of(served: Served, plan: Any) -> ClusterAccess:
    """Return the cluster that an attempt has, as its holder is told of it: asked for again, the lease is the same."""
    token = (served.state_dir / "operator.token").read_text().strip()
    client = Client(served.url, token)
    request = LeaseRequest(plan.image, plan.tenant, plan.holder, plan.shape, plan.group, request_id=plan.id)
    lease = client.acquire(request)
    client.forget(lease)
    client.close()
    return lease.cluster


def jobs_of(served: Served, plan: Any) -> str:
    """Return Ray's job list as a person sees it who holds the lease."""
    cluster = cluster_of(served, plan)
    answer = httpx.get(f"{cluster.dashboard_url}/api/jobs/", headers={"Authorization": f"Bearer {cluster.token}"})
    return json.dumps(answer.json())


def test_what_a_task_in_the_warm_interpreter_keeps_is_known_to_the_daemon(
    connector: Connector, served: Served, tmp_path: Path
) -> None:
    meta = connector.create(request1(tmp_path / "store", "9", KEEPS))
    done = connector.until(meta, "SUCCEEDED")
    if done.custom_info["how"] != "warm_interpreter":
        pytest.skip("no warm interpreter was ready in time")
    (cluster,) = [one for one in listed(served, "clusters") if one["id"] == done.custom_info["cluster"]]
    assert [(value["name"], value["bytes"] > 5_000_000) for value in cluster["resident"]] == [("weights", True)]

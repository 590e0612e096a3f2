"""Which warm interpreter a task finds on its cluster, or starts."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pool.connector.jobs import Jobs
from pool.connector.warm import NotWarm, Warm
from pool.inside import runner
from pool.wire.leases import ClusterAccess

CLUSTER = ClusterAccess(id="c-1", address="10.0.0.1:6379", dashboard_url="http://10.0.0.1:8265", token="t")


class FakeJobs(Jobs):
    """Ray's jobs: `says` is what each one that is submitted writes."""

    def __init__(self, says: str = "", status: str = "RUNNING") -> None:
        self.jobs: dict[str, dict[str, Any]] = {}
        self.logs: dict[str, str] = {}
        self.stopped: list[str] = []
        self._says, self._status = says, status

    async def all(self) -> list[dict[str, Any]]:
        return list(self.jobs.values())

    async def status(self, job: str) -> dict[str, Any] | None:
        return self.jobs.get(job)

    async def submit(self, job: str, entrypoint: str, package: Any, runtime_env: Any, metadata: Any) -> None:
        self.jobs[job] = {"submission_id": job, "status": self._status, "entrypoint": entrypoint}
        self.logs[job] = self._says

    async def stop(self, job: str) -> None:
        self.stopped.append(job)
        self.jobs[job]["status"] = "STOPPED"

    async def log(self, job: str) -> str:
        return self.logs[job]


def listening(port: int) -> str:
    return f"Ray says something\n{runner.MARK}{json.dumps({'host': '10.0.0.1', 'port': port, 'loaded': []})}\n"


def warm(jobs: FakeJobs, **variables: str) -> Warm:
    return Warm(jobs, CLUSTER, variables, ())


async def test_the_first_task_starts_it_and_the_next_one_finds_it() -> None:
    jobs = FakeJobs(listening(1))
    first, second = warm(jobs), warm(jobs)
    await first.ready()
    await second.ready()
    assert first.job == second.job
    assert list(jobs.jobs) == [first.job]


async def test_one_that_ended_is_followed_by_another_whose_log_is_its_own() -> None:
    jobs = FakeJobs(listening(1))
    first, second = warm(jobs), warm(jobs)
    await first.ready()
    await jobs.stop(first.job)
    jobs._says = listening(2)
    await second.ready()
    assert second.job != first.job
    assert (second._host, second._port) == ("10.0.0.1", 2)


async def test_other_variables_are_another_interpreter_and_the_old_one_ends() -> None:
    jobs = FakeJobs(listening(1))
    first, second = warm(jobs, A="b"), warm(jobs, A="c")
    await first.ready()
    await second.ready()
    assert jobs.stopped == [first.job]
    assert second.job not in jobs.stopped


async def test_a_holders_job_that_calls_itself_so_is_neither_used_nor_ended() -> None:
    jobs = FakeJobs(listening(1))
    one = warm(jobs)
    jobs.jobs["x"] = {"submission_id": f"{one._kind}-x", "status": "RUNNING", "entrypoint": "python mine.py"}
    await one.ready()
    assert one.job != f"{one._kind}-x"
    assert jobs.stopped == []


async def test_one_that_ends_as_it_starts_says_why() -> None:
    with pytest.raises(NotWarm, match="No module named flytekit") as refused:
        await warm(FakeJobs("ModuleNotFoundError: No module named flytekit\n", "FAILED")).ready()
    assert refused.value.reason == "not_ready"

"""Which warm interpreter a task finds on its cluster, or starts."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from pool.connector.jobs import Jobs, JobsError
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
    told = {"host": "127.0.0.1", "port": port, "loaded": []}
    return f"Ray says something\n{runner.MARK}{json.dumps(told)}\n"


def warm(jobs: FakeJobs, **variables: str) -> Warm:
    return Warm(jobs, CLUSTER, variables, ())


async def test_the_first_task_starts_it_and_the_next_one_finds_it() -> None:
    jobs = FakeJobs(listening(1))
    first, second = warm(jobs), warm(jobs)
    await first.ready("t-1")
    await second.ready("t-1")
    assert first.job == second.job
    assert list(jobs.jobs) == [first.job]


async def test_one_that_ended_is_followed_by_another_whose_log_is_its_own() -> None:
    jobs = FakeJobs(listening(1))
    first, second = warm(jobs), warm(jobs)
    await first.ready("t-1")
    await jobs.stop(first.job)
    jobs._says = listening(2)
    await second.ready("t-1")
    assert second.job != first.job
    assert (second._host, second._port) == ("127.0.0.1", 2)


async def test_other_variables_are_another_interpreter_and_the_old_one_ends() -> None:
    jobs = FakeJobs(listening(1))
    first, second = warm(jobs, A="b"), warm(jobs, A="c")
    await first.ready("t-1")
    await second.ready("t-1")
    assert jobs.stopped == [first.job]
    assert second.job not in jobs.stopped


async def test_one_in_which_others_tasks_may_run_is_asked_to_end_and_not_stopped() -> None:
    asked: list[str] = []
    async with interpreter({"t-1": "running"}, asked) as port:
        jobs = FakeJobs(listening(port))
        first, second = warm(jobs, A="b"), warm(jobs, A="c")
        await first.ready("t-1")
        jobs._says = listening(1)
        await second.ready("t-2")
    assert asked == ["wait", "end"]
    assert jobs.stopped == []
    assert second.job != first.job
    assert second._port == 1


async def test_one_that_is_to_end_and_does_not_answer_is_left_alone() -> None:
    jobs = FakeJobs()
    async with silent() as port:
        jobs._says = listening(port)
        first, second = warm(jobs, A="b"), warm(jobs, A="c")
        await first.ready("t-1")
        jobs._says = listening(1)
        await second.ready("t-2")
    assert jobs.stopped == []


@contextlib.asynccontextmanager
async def silent() -> AsyncIterator[int]:
    """Close each connection without an answer; yield the port."""

    async def close(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    server = await asyncio.start_server(close, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


@contextlib.asynccontextmanager
async def interpreter(tasks: dict[str, str], verbs: list[str] | None = None) -> AsyncIterator[int]:
    """Answer as an interpreter that knows the states of some tasks, and note what is asked; yield the port."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked = json.loads(await reader.readline())
        if verbs is not None:
            verbs.append(asked["do"])
        told = {"state": tasks.get(asked["id"], "unknown"), "code": 0}
        writer.write(json.dumps(told).encode() + b"\n")
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


@pytest.mark.parametrize("entrypoint", ["", "python -c another-version"])
async def test_a_task_that_has_begun_stays_where_it_is_when_variables_or_the_version_have_changed(
    entrypoint: str,
) -> None:
    async with interpreter({"t-1": "running"}) as port:
        jobs = FakeJobs(listening(port))
        before, after = warm(jobs, A="b"), warm(jobs, A="c")
        await before.ready("t-1")
        if entrypoint:
            jobs.jobs[before.job]["entrypoint"] = entrypoint
        await after.ready("t-1")
        assert after.job == before.job
        assert (jobs.stopped, list(jobs.jobs)) == ([], [before.job])
        # Another task, of another lease, gets one with the variables of now.
        jobs._says = listening(1)
        another = warm(jobs, A="c")
        await another.ready("t-2")
        assert another.job != before.job


async def test_a_task_in_an_interpreter_of_whatever_variables_is_known_to_run() -> None:
    async with interpreter({"t-1": "running", "t-2": "ended"}) as port:
        jobs = FakeJobs(listening(port))
        await warm(jobs, A="b").ready("t-1")
        runs = [await warm(jobs).runs(task) for task in ("t-1", "t-2", "t-3")]
        assert runs == [True, False, False]
    with pytest.raises(JobsError, match="does not answer"):
        await warm(jobs).runs("t-1")


async def test_a_holders_job_that_calls_itself_so_is_neither_used_nor_ended() -> None:
    jobs = FakeJobs(listening(1))
    one = warm(jobs)
    jobs.jobs["x"] = {"submission_id": f"{one._kind}-x", "status": "RUNNING", "entrypoint": "python mine.py"}
    await one.ready("t-1")
    assert one.job != f"{one._kind}-x"
    assert jobs.stopped == []


async def test_a_module_that_is_not_there_is_told_once_for_each_interpreter(caplog: pytest.LogCaptureFixture) -> None:
    jobs = FakeJobs(listening(1))
    for _ in range(2):
        await Warm(jobs, CLUSTER, {}, ("tortch",)).ready("t-1")
    assert [record.getMessage() for record in caplog.records if "--preload" in record.getMessage()] == [
        f"--preload: not to be imported in {next(iter(jobs.jobs))}: tortch"
    ]


async def test_one_that_ends_as_it_starts_says_why() -> None:
    with pytest.raises(NotWarm, match="No module named flytekit") as refused:
        await warm(FakeJobs("ModuleNotFoundError: No module named flytekit\n", "FAILED")).ready("t-1")
    assert refused.value.reason == "not_ready"

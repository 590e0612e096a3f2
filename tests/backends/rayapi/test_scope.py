"""What of a cluster began in the time of a lease, and what did not."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from pool.backends.rayapi.inside import PREFIX
from pool.backends.rayapi.scope import Began
from pool.inside.tables import SUPERVISOR, drivers_of


def row(at: int, *, submission: str = "", driver: str = "") -> dict[str, Any]:
    return {"submission_id": submission or None, "job_id": driver or None, "start_time": at}


@pytest.fixture
def began() -> Began:
    scope = Began(100, 200)
    mine = scope.jobs(
        [
            row(99, driver="01"),
            row(100, driver="02"),
            row(150, submission="a", driver="03"),
            row(50, submission="b", driver="04"),
            row(201, submission="c"),
            row(150, submission=f"{PREFIX}1"),
            {"submission_id": "d", "job_id": None, "start_time": None},
        ]
    )
    assert [(job["submission_id"], job["job_id"]) for job in mine] == [(None, "02"), ("a", "03")]
    return scope


@pytest.mark.parametrize(
    ("name", "job", "goes", "certain"),
    [
        ("x", "01", False, False),
        ("x", "02", True, True),
        ("x", "03", True, True),
        ("x", "04", False, False),
        # A submitted job's earlier driver is in no list: the look inside tells whose it is.
        ("x", "05", True, False),
        (f"{SUPERVISOR}a", "09", True, False),
        (f"{SUPERVISOR}b", "09", False, False),
    ],
)
def test_what_a_driver_made_is_as_old_as_the_driver(
    began: Began, name: str, job: str, goes: bool, certain: bool
) -> None:
    assert began.actor({"name": name, "job_id": job}) is goes
    assert began.certain(job) is certain
    if not name.startswith(SUPERVISOR):
        assert began.group({"creator_job_id": job}) is goes


def test_inside_a_submitted_jobs_driver_is_as_old_as_its_job(began: Began) -> None:
    def job(job_id: str, at: int, submission: str = "", namespace: str = "") -> Any:
        metadata = {"job_submission_id": submission} if submission else {}
        config = SimpleNamespace(metadata=metadata, ray_namespace=namespace)
        return SimpleNamespace(job_id=job_id.encode(), start_time=at, config=config)

    table = [
        job("01", 99),
        job("02", 100),
        job("03", 250, "a"),
        job("04", 150, "b"),
        job("05", 160, namespace="_ray_internal_dashboard"),
    ]
    assert drivers_of(table, began.given()) == {b"02", b"03"}

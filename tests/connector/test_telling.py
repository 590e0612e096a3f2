"""What Prometheus is told of attempts: how they ran and why, and for how long they were in each phase."""

from __future__ import annotations

from pool.connector.status import Phase, Status
from pool.connector.telling import Telling


def value(telling: Telling, name: str, **labels: str) -> float | None:
    return telling.registry.get_sample_value(name, labels)


def test_the_time_in_each_phase_is_told_as_an_attempt_leaves_it() -> None:
    telling = Telling()
    about = {"outcome": "hit", "how": "warm_interpreter", "how_reason": ""}
    telling.told(Phase.WAITING, 0.4, Status(Phase.INITIALIZING, "", about), 0.4)
    telling.told(Phase.INITIALIZING, 0.1, Status(Phase.RUNNING, "", about), 0.5)
    telling.told(Phase.RUNNING, 7.0, Status(Phase.SUCCEEDED, "", about), 7.5)
    spent = {
        phase: value(telling, "warmpool_connector_phase_seconds_sum", phase=phase)
        for phase in ("waiting_for_resources", "initializing", "running", "succeeded")
    }
    assert spent == {"waiting_for_resources": 0.4, "initializing": 0.1, "running": 7.0, "succeeded": None}
    assert value(telling, "warmpool_connector_attempt_seconds_sum", phase="succeeded") == 7.5


def test_modules_are_counted_by_whether_a_task_found_them_preloaded() -> None:
    telling = Telling()
    about = {"how": "warm_interpreter", "imported": "pandas numpy", "preloaded": "torch"}
    telling.told(Phase.RUNNING, 1.0, Status(Phase.SUCCEEDED, "", about), 2.0)
    telling.told(Phase.RUNNING, 1.0, Status(Phase.FAILED, "", {"how": "ray_job"}), 2.0)
    assert value(telling, "warmpool_connector_modules_total", how="imported") == 2
    assert value(telling, "warmpool_connector_modules_total", how="preloaded") == 1


def test_attempts_are_counted_by_their_end_their_lease_the_way_they_ran_and_the_reason() -> None:
    telling = Telling()
    for about in (
        {"outcome": "cold", "how": "ray_job", "how_reason": "runtime_env"},
        {"outcome": "hit", "how": "warm_interpreter", "how_reason": ""},
        {"outcome": "hit", "how": "warm_interpreter", "how_reason": ""},
    ):
        telling.told(Phase.RUNNING, 1.0, Status(Phase.SUCCEEDED, "", about), 2.0)
    telling.told(Phase.WAITING, 1.0, Status(Phase.RETRYABLE_FAILED, ""), 1.0)
    name = "warmpool_connector_attempts_total"
    job = {"phase": "succeeded", "outcome": "cold", "how": "ray_job", "reason": "runtime_env"}
    assert value(telling, name, **job) == 1
    warm = {"phase": "succeeded", "outcome": "hit", "how": "warm_interpreter", "reason": ""}
    assert value(telling, name, **warm) == 2
    none = {"phase": "retryable_failed", "outcome": "none", "how": "none", "reason": ""}
    assert value(telling, name, **none) == 1

"""What can go wrong between Flyte and the pool, besides what the client itself raises."""

from __future__ import annotations

from pool.core.errors import PoolError
from pool.core.reasons import Reason


class NestedDeadlock(PoolError):
    """A task that holds a lease calls one that needs another: it would wait for what it holds itself."""

    reason = Reason.NESTED_DEADLOCK
    remedy = "Give both tasks the same image, RayJobConfig and runtime_env, or call one after the other has returned."


class NoDaemon(PoolError):
    """A pooled task runs on a Flyte backend, and its container does not know where the daemon is."""

    reason = Reason.INVALID_REQUEST
    remedy = (
        "Set WARMPOOL_URL and WARMPOOL_TOKEN_FILE in the task's environment, "
        "or register the task with its plain RayJobConfig."
    )


class ProcessBusy(PoolError):
    """Another task of this process, on another cluster, did not end in time: Ray connects a process to one only."""

    reason = Reason.WAIT_TIMEOUT
    remedy = "Run such tasks one after the other, give them the same RayJobConfig, or raise Pooled.timeout_s."

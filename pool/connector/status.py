"""How far an attempt is, and what all attempts share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import httpx

    from pool.client import AsyncClient
    from pool.connector.history import History
    from pool.connector.standing import Standing


class Phase(StrEnum):
    """How far an attempt is. The values are the names in Flyte's protocol."""

    WAITING = "WAITING_FOR_RESOURCES"
    INITIALIZING = "INITIALIZING"
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    RETRYABLE_FAILED = "RETRYABLE_FAILED"
    ABORTED = "ABORTED"

    @property
    def over(self) -> bool:
        """Whether nothing follows."""
        return self not in (Phase.WAITING, Phase.INITIALIZING, Phase.RUNNING)


@dataclass(frozen=True)
class Status:
    """How an attempt is doing.

    Attributes:
        phase: how far it is.
        message: one sentence or more, for people.
        about: what is known of its lease and its job: ids, reasons, durations.
        dashboard: URL of the cluster's dashboard; empty while there is none.
        waits: a cluster is being started or waited for: that takes longer than a call may.
    """

    phase: Phase
    message: str
    about: Mapping[str, str] = field(default_factory=dict)
    dashboard: str = ""
    waits: bool = False


@dataclass
class Tools:
    """What all attempts share.

    Attributes:
        client: asks for leases.
        standing: looks at them.
        http: speaks to clusters.
        environment: returns the connector's own variables, for every task.
        wait_s: how long an attempt waits for its cluster at most.
        warm: whether tasks run in warm interpreters where they can.
        preload: modules that these import besides.
        history: knows what tasks import, for these to import too; None if they shall not.
        told: called as an attempt goes on to another phase: with the one before and the seconds in it, the status now,
            and the seconds since the attempt was first seen here.
    """

    client: AsyncClient
    standing: Standing
    http: httpx.AsyncClient
    environment: Callable[[], Mapping[str, str]]
    wait_s: float = 3600.0
    warm: bool = True
    preload: tuple[str, ...] = ()
    history: History | None = None
    told: Callable[[Phase, float, Status, float], None] = lambda before, for_s, status, after_s: None

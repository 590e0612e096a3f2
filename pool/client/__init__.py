"""The client: what runs inside a task.

Acquire a lease, keep it renewed in the background, notice when it is over, and give it back whatever happens::

    with pool.lease(image="local", tenant="flytesnacks/development", holder="notebook") as lease:
        lease.connect()  # then use Ray
"""

from pool.client.aio import AsyncClient
from pool.client.display import waiting_display
from pool.client.endpoint import configured
from pool.client.errors import (
    AcquireRefused,
    ClientError,
    DaemonFault,
    InvalidRequest,
    LeaseEnded,
    LeaseLost,
    LeaseOver,
    NotAllowed,
    NotConfigured,
    QueueFull,
    RequestIdUsed,
    ShapeTooLarge,
    Unreachable,
    WaitTimeout,
    WarmMiss,
)
from pool.client.lease import AsyncLease, HeldLease, Lease, LeaseChange
from pool.client.request import LeaseRequest, Progress
from pool.client.shortcuts import alease, lease
from pool.client.sync import Client

__all__ = [
    "AcquireRefused",
    "AsyncClient",
    "AsyncLease",
    "Client",
    "ClientError",
    "DaemonFault",
    "HeldLease",
    "InvalidRequest",
    "Lease",
    "LeaseChange",
    "LeaseEnded",
    "LeaseLost",
    "LeaseOver",
    "LeaseRequest",
    "NotAllowed",
    "NotConfigured",
    "Progress",
    "QueueFull",
    "RequestIdUsed",
    "ShapeTooLarge",
    "Unreachable",
    "WaitTimeout",
    "WarmMiss",
    "alease",
    "configured",
    "lease",
    "waiting_display",
]

"""Warm clusters for Flyte's Ray tasks: ``Pooled(RayJobConfig(...))``, in Flyte 1 and Flyte 2."""

from __future__ import annotations

from pool.flyte.config import Pooled
from pool.flyte.errors import NestedDeadlock, NoDaemon, ProcessBusy
from pool.flyte.handle import Resident
from pool.flyte.holding import current_lease

__all__ = ["NestedDeadlock", "NoDaemon", "Pooled", "ProcessBusy", "Resident", "current_lease"]

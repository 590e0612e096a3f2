"""Lists of what there is, and how a part of one is asked for."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from pool.core.model import ClusterState, LeaseState
from pool.wire.base import Message, Request, Text
from pool.wire.views import ClusterView, LeaseView, PoolView, WaiterView


class PageQuery(Request):
    """Which part of a list, and whose."""

    tenant: Text | None = Field(None, description="Of this tenant alone.")
    limit: Annotated[int, Field(ge=1, le=1000)] = 200
    after: Text | None = Field(None, description="`next` of the part before.")


class PoolQuery(PageQuery):
    """Which pools."""

    name: Text | None = Field(None, description="Of the configured pool.")


class ClusterQuery(PageQuery):
    """Which clusters."""

    pool: Text | None = Field(None, description="Digest, or name of the configured pool.")
    state: ClusterState | None = None


class LeaseQuery(PageQuery):
    """Which leases: those that live, unless `state` is `ended` (the recently ended)."""

    pool: Text | None = Field(None, description="Digest, or name of the configured pool.")
    state: LeaseState | None = None
    holder: Text | None = None
    group: Text | None = None


class WaiterQuery(PageQuery):
    """Which waiters."""

    pool: Text | None = Field(None, description="Digest, or name of the configured pool.")
    holder: Text | None = None
    group: Text | None = None


class PoolList(Message):
    """Pools."""

    items: list[PoolView]
    next: str | None = Field(None, description="There are more: ask again with `after` set to this.")


class ClusterList(Message):
    """Clusters."""

    items: list[ClusterView]
    next: str | None = Field(None, description="There are more: ask again with `after` set to this.")


class LeaseList(Message):
    """Leases, first granted first."""

    items: list[LeaseView]
    next: str | None = Field(None, description="There are more: ask again with `after` set to this.")


class WaiterList(Message):
    """Waiters in the order in which they will be served, pool by pool."""

    items: list[WaiterView]
    next: str | None = Field(None, description="There are more: ask again with `after` set to this.")

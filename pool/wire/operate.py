"""What operators ask for and are told, and how errors are told."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from pool.core.reasons import Reason
from pool.wire.base import Count, Message, Request, Text
from pool.wire.key import KeySpec


class PrewarmRequest(Request):
    """Start clusters of a key until `count` are idle or starting."""

    key: KeySpec
    count: int = Field(1, ge=1, le=1000)


class ResizeRequest(Request):
    """Set a pool's least number of idle clusters, or its ceiling, over its configuration."""

    min_idle: Count | None = None
    max_clusters: Count | None = None


class RevokeRequest(Request):
    """End a lease by force; its cluster is recycled."""

    explanation: Text = ""


class DoneAnswer(Message):
    """An operator's request was carried out."""

    status: Literal["done"] = "done"
    text: str
    ids: list[str] = Field(default_factory=list)


class ConfigAnswer(Message):
    """The configuration in force, with every default filled in, and without secrets."""

    config: dict[str, Any] = Field(description="As the configuration file says it.")


class Health(Message):
    """The daemon's health."""

    status: Literal["ok", "standing_by", "starting", "stopping", "failed"]
    version: str
    detail: str = ""


class Problem(Message):
    """An error (RFC 9457, application/problem+json)."""

    type: str = Field(description="urn:warmpool:reason:<reason>")
    title: str
    status: int
    detail: str = ""
    reason: Reason
    remedy: str = Field("", description="What to do next.")
    instance: str = ""
    end_reason: Reason | None = Field(None, description="With `lease_ended`: why the lease ended.")

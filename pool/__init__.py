"""Warmpool: warm Ray clusters, leased to successive Flyte tasks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

__all__ = ["alease", "lease"]

if TYPE_CHECKING:
    from pool.client import alease as alease
    from pool.client import lease as lease


def __getattr__(name: str) -> Any:
    # Late, so that importing any part of the package does not import the client.
    if name in __all__:
        import pool.client

        return getattr(pool.client, name)
    raise AttributeError(f"module 'pool' has no attribute {name!r}")

"""When a cluster has grown so much that it is not used again."""

from __future__ import annotations

from pool.core.model import Wear
from pool.core.reasons import Reason
from pool.core.settings import PoolSettings


def outgrown(settings: PoolSettings, wear: Wear | None) -> tuple[Reason, str] | None:
    """Return beyond which limit of its pool a cluster has grown, None if beyond none."""
    if wear is None:
        return None
    for reason, what, is_, most in (
        (Reason.HEAD_MEMORY, "bytes of memory on its head", wear.head_memory_bytes, settings.max_head_memory_bytes),
        (Reason.OPEN_FILES, "open files in one process of its head", wear.open_files, settings.max_open_files),
        (Reason.STORE_LEFT, "bytes left in its object stores", wear.store_left_bytes, settings.max_store_left_bytes),
    ):
        if most and is_ > most:
            return reason, f"it has {is_:,} {what}, of {most:,} at most"
    return None

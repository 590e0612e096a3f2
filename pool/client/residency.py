"""What a holder tells of resident data as it gives its cluster back.

Neither Ray nor `pool.resident` is imported for it: who did not use them has nothing to tell.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import logging
import os
import sys
import time
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from pool.client.disconnect import connected_to
from pool.core.model import ReadFrom
from pool.inside.place import RESIDENCY
from pool.wire.leases import ClusterAccess, ResidentItem

log = logging.getLogger("warmpool.client")

BOUND_S = 2.0
"""How long the owners may take to say what they have: a release is not to wait for a cluster that hangs."""
MOST = 1000
"""How many values are told of, the most recently used first."""


class Residency(NamedTuple):
    """What is resident on a cluster, and from where this process's reads were answered."""

    values: list[ResidentItem]
    reads: dict[ReadFrom, int]


def copies_written() -> Exception | None:
    """Wait for the durable copies that this process writes behind, and return why one could not be written."""
    behind = sys.modules.get("pool.resident.behind")
    failed: Exception | None = behind.finish() if behind is not None else None
    return failed


def residency(cluster: ClusterAccess) -> Residency | None:
    """Return what is resident on `cluster`; None if this process did not use resident data, or cannot tell.

    Never raises: the lease is given up whatever Ray does.
    """
    values, ray = sys.modules.get("pool.resident.values"), sys.modules.get("ray")
    if values is None or ray is None:
        return None
    try:
        if not ray.is_initialized() or not connected_to(ray, cluster):
            return None
        return _seen(values)
    except Exception as error:
        log.warning("what is resident on %s could not be told to the daemon: %s", cluster.id, error)
        return None


def leave_at_exit() -> None:
    """Have this process, if its lease is another one's who asks for it, leave at its end what it has to tell of it."""
    directory = os.environ.get(RESIDENCY, "")
    if directory and os.getpid() not in _leaving:
        _leaving.add(os.getpid())
        # After Ray's own, and so before it: Ray is still connected then.
        atexit.register(_leave, Path(directory), os.getpid())


def left_in(directory: Path) -> Residency | None:
    """Return what processes left in a directory as they ended; None if none did."""
    texts = []
    for file in directory.glob("*.json"):
        with contextlib.suppress(OSError, ValueError):
            texts.append(file.read_text(encoding="utf-8"))
    return residency_of(texts)


def residency_of(texts: Iterable[str]) -> Residency | None:
    """Return what processes left: what the last one saw, and the reads of all; None if none left anything.

    It may be of anybody's code: what is no such text is left out.
    """
    last_at, values, reads = 0.0, None, dict.fromkeys(ReadFrom, 0)
    for text in texts:
        with contextlib.suppress(TypeError, KeyError, ValueError, AttributeError):
            one = json.loads(text)
            seen = [ResidentItem.model_validate(value) for value in one["resident"][:MOST]]
            counted = {ReadFrom(source): max(0, int(count)) for source, count in one["reads"].items()}
            for source, count in counted.items():
                reads[source] += count
            if values is None or float(one["at"]) > last_at:
                last_at, values = float(one["at"]), seen
    return None if values is None else Residency(values, {source: count for source, count in reads.items() if count})


def _seen(values: Any) -> Residency:
    """Return what is resident on the cluster that this process is connected to, and count its reads anew."""
    entries = sorted(values.resident_now(BOUND_S), key=lambda entry: -entry.used_at)[:MOST]
    told = [
        ResidentItem(name=entry.name[:256], bytes=entry.bytes, node=entry.node, used_at=entry.used_at)
        for entry in entries
        if entry.resident
    ]
    return Residency(told, values.take_reads())


_leaving: set[int] = set()
"""This process, once it is to leave what it has to tell: a forked child is another one."""


def _leave(directory: Path, pid: int) -> None:
    values, ray = sys.modules.get("pool.resident.values"), sys.modules.get("ray")
    if os.getpid() != pid or values is None or ray is None:
        return
    try:
        # A pooled task has a lease of its own, and has told of it.
        if not ray.is_initialized() or not _by_environment(ray):
            return
        seen = _seen(values)
        said = {
            "at": time.time(),
            "resident": [value.model_dump(mode="json") for value in seen.values],
            "reads": {str(source): count for source, count in seen.reads.items()},
        }
        file = directory / f"{uuid.uuid4().hex}.json"
        begun = file.with_suffix(".part")
        begun.write_text(json.dumps(said), encoding="utf-8")
        begun.replace(file)
    except Exception as error:
        log.warning("what is resident on the cluster could not be told to who holds its lease: %s", error)


def _by_environment(ray: Any) -> bool:
    """Tell whether this process is connected to the cluster that its environment names, or by Ray Client to one."""
    given = os.environ.get("RAY_ADDRESS", "")
    access = ClusterAccess(id="", address=given, token="")
    return bool(ray.util.client.ray.is_connected()) or connected_to(ray, access)

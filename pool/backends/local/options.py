"""What can be set about local clusters."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class LocalOptions:
    """Settings of the local backend. Every one has a default that works.

    Attributes:
        python: the Python that runs Ray. Whatever image a key names, its local clusters run in this environment.
        unclaimed_s: clusters that no daemon has claimed for so long stop themselves.
        claim_s: how often a running daemon claims its clusters.
        watch_s: how often the processes of ready clusters are looked at.
        probe_s: how often a ready cluster is asked for its health; `probe_timeout_s` bounds one answer.
        probe_misses, probe_window_s: so many answers missing in a row, over at least so long, make it unhealthy.
        milli_cpu, memory_bytes, gpu: the machine's limits; None finds them out.
        cpu_overcommit: one cluster may have this many times the machine's cpus.
        object_store_bytes: size of a node's object store when neither its shape's object store nor memory says it.
        prestart_workers: start worker processes before the first task asks for them.
        port_range: ports are taken from it (both ends included). Below the system's range for outgoing connections,
            which takes ports at any moment.
        temp_root: directory of the clusters' temp dirs, which hold Ray's sessions and the temporary files of the
            clusters' processes; must be short, because Ray's sockets lie below it.
        stop_grace_s: how long a node may take to end before it is killed.
        settle_s: how long a reset waits for what goes by itself (the workers of an ended driver, say).
        env: variables given to the clusters' processes.
        inherit: names of variables that they inherit of the daemon, besides the harmless ones.
    """

    python: str = sys.executable
    unclaimed_s: float = 900.0
    claim_s: float = 20.0
    watch_s: float = 1.0
    probe_s: float = 7.0
    probe_timeout_s: float = 10.0
    probe_misses: int = 5
    probe_window_s: float = 30.0
    milli_cpu: int | None = None
    memory_bytes: int | None = None
    gpu: int | None = None
    cpu_overcommit: float = 1.0
    object_store_bytes: int = 2 * 2**30
    prestart_workers: bool = True
    port_range: tuple[int, int] = (10_000, 32_000)
    temp_root: str = "/tmp"  # noqa: S108 - each temp dir is made with a random name, for its user alone
    stop_grace_s: float = 4.0
    settle_s: float = 12.0
    env: Mapping[str, str] = field(default_factory=dict)
    inherit: tuple[str, ...] = ()

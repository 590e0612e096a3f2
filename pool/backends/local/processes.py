"""Who is who among the machine's processes: read from ``/proc``, with the standard library alone.

A process id is used again after a process ended, and the wall clock is set now and then: so a process is known by its
id *and* its start time in clock ticks since the kernel booted, and both count only for the boot they were seen in.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

CLUSTER_MARK = "WARMPOOL_CLUSTER"
"""``<store id>/<cluster id>``, in one variable: a program that gives itself a title may overwrite the other one."""

TEMP_MARK = "WARMPOOL_TEMP"


@dataclass(frozen=True, slots=True)
class Process:
    """One process of one boot of the kernel.

    Attributes:
        start: clock ticks since boot; with `pid` it names the process for ever.
    """

    pid: int
    start: int

    def alive(self) -> bool:
        """Tell whether this very process runs (a zombie does not)."""
        entry = read(self.pid)
        return entry is not None and entry.start == self.start and entry.runs

    def send(self, number: signal.Signals) -> None:
        """Send a signal, if this very process still runs."""
        if self.alive():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(self.pid, number)


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the process table."""

    pid: int
    start: int
    parent: int
    session: int
    state: str

    @property
    def runs(self) -> bool:
        """Tell whether it is more than a zombie."""
        return self.state not in ("Z", "X")

    @property
    def process(self) -> Process:
        """The process that this line is about."""
        return Process(self.pid, self.start)


def kernel_boot() -> str:
    """Return the id of the kernel's current boot: process ids of another boot mean nothing."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def read(pid: int) -> Entry | None:
    """Return the line of one process, None if there is none."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return None
    # The second field, the name, may hold spaces and parentheses.
    fields = text[text.rindex(")") + 2 :].split()
    return Entry(pid, int(fields[19]), int(fields[1]), int(fields[3]), fields[0])


def table() -> dict[int, Entry]:
    """Return every running process by its id."""
    entries = (read(int(entry.name)) for entry in os.scandir("/proc") if entry.name.isdigit())
    return {entry.pid: entry for entry in entries if entry is not None and entry.runs}


def marks(pid: int) -> dict[str, str]:
    """Return the variables that the process was started with and that begin with ``WARMPOOL_``."""
    try:
        environ = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return {}
    pairs = (part.decode(errors="replace").partition("=") for part in environ.split(b"\0") if part[:9] == b"WARMPOOL_")
    return {name: value for name, _, value in pairs}


def command(pid: int) -> list[str]:
    """Return the command line, or the title that the process gave itself; empty if it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").rstrip("\0").split("\0")
    except OSError:
        return []


def owned(store_id: str, sessions: Mapping[int, str] | None = None) -> dict[str, dict[int, Entry]]:
    """Find every process of a store's clusters.

    A process belongs to a cluster if it carries its marks. Programs that give themselves a title may overwrite their
    marks: a process without any belongs where its session or its parent belongs. What carries the mark of another
    store is never ours.

    Args:
        store_id: whose clusters.
        sessions: sessions known from a trail: id of the session to id of the cluster.

    Returns:
        By cluster id, its processes by process id.
    """
    entries = table()
    mark = {pid: marks(pid).get(CLUSTER_MARK, "") for pid in entries}
    ours = f"{store_id}/"
    owner = {pid: text.removeprefix(ours) for pid, text in mark.items() if text.startswith(ours)}
    by_session = dict(sessions or {}) | {entries[pid].session: cluster for pid, cluster in owner.items()}
    unmarked = {pid for pid, text in mark.items() if not text}
    for pid in unmarked:
        if entries[pid].session in by_session:
            owner[pid] = by_session[entries[pid].session]
    grew = True
    while grew:
        grew = False
        for pid in unmarked - owner.keys():
            if entries[pid].parent in owner:
                owner[pid] = owner[entries[pid].parent]
                grew = True
    found: dict[str, dict[int, Entry]] = {}
    for pid, cluster_id in owner.items():
        if pid != os.getpid():
            found.setdefault(cluster_id, {})[pid] = entries[pid]
    return found


def end(store_id: str, cluster_id: str, roots: Iterable[Process], grace_s: float, sessions: Iterable[int] = ()) -> bool:
    """End every process of a cluster: its roots gently, then whatever is left by force. Blocks.

    Args:
        store_id: whose cluster it is.
        cluster_id: its id.
        roots: processes that take their own children down when asked (the ``ray start --block`` of each node).
        grace_s: how long the roots may take.
        sessions: sessions of the cluster known from its trail.

    Returns:
        Whether all are seen gone.
    """
    waiting = [root for root in roots if root.alive()]
    for root in waiting:
        root.send(signal.SIGTERM)
    for _ in pauses(grace_s):
        waiting = [root for root in waiting if root.alive()]
        if not waiting:
            break
    known = dict.fromkeys(sessions, cluster_id)
    for _ in pauses(grace_s + 5.0):
        left = owned(store_id, known).get(cluster_id)
        if not left:
            return True
        # A session goes on under its number when its first process is gone.
        known.update(dict.fromkeys((entry.session for entry in left.values()), cluster_id))
        for entry in left.values():
            entry.process.send(signal.SIGKILL)
    return False


def pauses(bound_s: float) -> Iterator[None]:
    """Yield at once, and then again and again until `bound_s` seconds are over. Blocks."""
    until = time.monotonic() + bound_s
    while True:
        yield
        if time.monotonic() >= until:
            return
        time.sleep(0.03)

"""The directory of a store's clusters, and how a cluster comes into being there. Blocking: run it in a thread."""

from __future__ import annotations

import os
import re
import secrets
import sys
from collections.abc import Iterator
from pathlib import Path

from pool.backends.local import commands, supervisor
from pool.backends.local.options import LocalOptions
from pool.backends.local.ports import PortRange
from pool.backends.local.processes import TEMP_MARK, Process, end, marks, owned, read
from pool.backends.local.trail import Files, Ports, Trail, make_temp_dir
from pool.core.errors import InvalidKey, PoolError
from pool.core.events import Listing, Seen
from pool.core.key import ClusterKey

_ID = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")
_SOCKET = "/session_2026-01-01_00-00-00_000000_4194304/sockets/plasma_store.9999"
_MAX_SOCKET_BYTES = 107


class Home:
    """Where the clusters of one store live on this machine."""

    def __init__(self, state_dir: Path, store_id: str, options: LocalOptions) -> None:
        if not _ID.match(store_id):
            raise InvalidKey(f"store: {store_id!r} is not an id (letters, digits, '.', '_', '-').")
        self.store_id = store_id
        self.root = state_dir.resolve() / "clusters" / store_id
        self.claim = self.root / "claim"
        self._options = options
        self._ports = PortRange(options.port_range)
        self._children: set[int] = set()

    def open(self) -> None:
        """Make the directory and claim the clusters in it."""
        self.root.mkdir(parents=True, exist_ok=True)
        self.root.chmod(0o700)
        self.touch()

    def touch(self) -> None:
        """Claim all clusters of the store for a while."""
        self.claim.touch()
        self._reap()

    def files(self, cluster_id: str) -> Files:
        """Return the files of a cluster, there or not.

        Raises:
            PoolError: if the id is not one that this backend would ever use.
        """
        if not _ID.match(cluster_id):
            raise PoolError(f"{cluster_id!r} is not the id of a cluster.")
        return Files(self.root / cluster_id)

    def ids(self) -> list[str]:
        """Return the ids of all clusters that have a directory."""
        return sorted(entry.name for entry in os.scandir(self.root) if entry.is_dir() and _ID.match(entry.name))

    def launch(self, cluster_id: str, key: ClusterKey, token: str, resident_share: float = 0.5) -> Process:
        """Begin to start a cluster that does not exist. What could leak is written down before it is made.

        Args:
            cluster_id: names it.
            key: what it is to be.
            token: its secret.
            resident_share: of each node's object store that resident data may take.

        Returns:
            Its supervisor.

        Raises:
            OSError: if the machine does not let us.
        """
        files = self.files(cluster_id)
        files.directory.mkdir(mode=0o700)
        trail = self._plan(cluster_id, key, resident_share)
        files.write_trail(trail)
        make_temp_dir(trail.temp_dir, self.store_id, cluster_id)
        files.work.mkdir(mode=0o700)
        files.write_token(token)
        return self.supervise(files, trail)

    def supervise(self, files: Files, trail: Trail) -> Process:
        """Start the supervisor of a cluster, in a session of its own; it goes on with what runs already."""
        log = os.open(files.supervisor_log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        null = os.open(os.devnull, os.O_RDONLY)
        program = str(Path(supervisor.__file__).resolve())
        try:
            pid = os.posix_spawn(
                sys.executable,
                [sys.executable, program, str(files.directory)],
                commands.environment(os.environ, trail, files.token, self._options),
                file_actions=[(os.POSIX_SPAWN_DUP2, null, 0), *((os.POSIX_SPAWN_DUP2, log, fd) for fd in (1, 2))],
                setsid=True,
            )
        finally:
            os.close(log)
            os.close(null)
        self._children.add(pid)
        entry = read(pid)
        if entry is None:
            raise OSError(f"the supervisor ended at once: {files.supervisor_log}")
        return entry.process

    def adopt(self, cluster_id: str, digest: str) -> Process | None:
        """Return the supervisor of a cluster that runs or starts already; make room for a start if there is none."""
        files = self.files(cluster_id)
        trail, running = files.trail(), files.running()
        if trail is not None and trail.digest == digest:
            if running.supervisor is not None and running.supervisor.alive():
                return running.supervisor
            if running.head is not None and running.head.alive():
                return self.supervise(files, trail)
        if files.directory.exists() or cluster_id in owned(self.store_id):
            self.end(cluster_id)
        return None

    def end(self, cluster_id: str) -> None:
        """End every process of a cluster, see them gone, and delete what it left on disk.

        Raises:
            PoolError: if processes are still there.
        """
        files = self.files(cluster_id)
        trail, running = files.trail(), files.running()
        temp_dir = trail.temp_dir if trail is not None else self._temp_dir_of(cluster_id)
        # Its supervisor outlives this daemon: told first, it would finish the work if the daemon died meanwhile.
        roots = [running.supervisor] if running.supervisor is not None and running.supervisor.alive() else []
        sessions = [process.pid for process in running.nodes.values()]
        grace_s = self._options.stop_grace_s
        if not end(self.store_id, cluster_id, roots or running.nodes.values(), grace_s + 6.0, sessions):
            left = owned(self.store_id, dict.fromkeys(sessions, cluster_id)).get(cluster_id, {})
            raise PoolError(f"{cluster_id}: processes {sorted(left)} could not be ended.")
        files.delete(temp_dir)
        self._ports.give_back(cluster_id)
        self._reap()

    def listing(self) -> Listing:
        """Return every cluster that has a directory or a process."""
        found: dict[str, str] = {}
        sessions: dict[int, str] = {}
        try:
            ids = self.ids()
        except OSError:
            return Listing(started_at=0.0, complete=False, seen=())
        for cluster_id in ids:
            files = self.files(cluster_id)
            running, ready = files.running(), files.ready()
            sessions |= dict.fromkeys((process.pid for process in running.nodes.values()), cluster_id)
            up = ready is not None and running.head is not None and running.head.alive()
            found[cluster_id] = ready.boot_id if ready is not None and up else ""
        for cluster_id in owned(self.store_id, sessions):
            found.setdefault(cluster_id, "")
        seen = tuple(Seen(cluster_id, boot_id) for cluster_id, boot_id in sorted(found.items()))
        return Listing(started_at=0.0, complete=True, seen=seen)

    def _plan(self, cluster_id: str, key: ClusterKey, resident_share: float) -> Trail:
        temp_dir = f"{self._options.temp_root}/wp-{secrets.token_hex(5)}"
        if len((temp_dir + _SOCKET).encode()) > _MAX_SOCKET_BYTES:
            raise OSError(f"temp_root {self._options.temp_root!r} is too long: Ray's sockets below it take 107 bytes")
        free: Iterator[int] = self._ports.take(cluster_id, commands.ports_needed(key.shape))
        ports = Ports(gcs=next(free), client=next(free), dashboard=next(free), metrics=next(free))
        return Trail(
            store_id=self.store_id,
            cluster_id=cluster_id,
            digest=key.digest,
            temp_dir=temp_dir,
            ports=ports,
            nodes=commands.starts(key.shape, ports, free, temp_dir, self._options),
            claim=str(self.claim),
            unclaimed_s=self._options.unclaimed_s,
            grace_s=self._options.stop_grace_s,
            resident_share=resident_share,
        )

    def _temp_dir_of(self, cluster_id: str) -> str:
        """Return the temp dir of a cluster whose trail is gone, as its processes tell it."""
        found = (marks(pid).get(TEMP_MARK, "") for pid in owned(self.store_id).get(cluster_id, {}))
        return next((path for path in found if path), "")

    def _reap(self) -> None:
        """Let go of ended supervisors that are our own children."""
        for pid in list(self._children):
            try:
                done, _ = os.waitpid(pid, os.WNOHANG)
            except ChildProcessError:
                done = pid
            if done:
                self._children.discard(pid)

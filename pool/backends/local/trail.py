"""What a cluster leaves on disk, so that whoever comes later finds and ends all of it. Standard library alone.

``<state_dir>/clusters/<store id>/<cluster id>/`` holds:

``trail.json``      written before anything else is made: ports, temp dir, commands. Kept until all of it is gone.
``token``           the cluster's secret, readable by its user alone.
``processes.json``  by the supervisor: the processes it started and how they ended.
``ready.json``      what a start returned, once the cluster was ready.
``work/``           the working directory of its processes.
``*.log``           what each ``ray start`` and the supervisor said.

The temp dir, elsewhere because its path must be short, holds Ray's session and, in ``tmp/``, whatever the cluster's
processes take for temporary: so nothing of it outlives the cluster, however they ended.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pool.backends.local.processes import Process, kernel_boot

OWNER_FILE = ".warmpool"
TASKS_TEMP = "tmp"


@dataclass(frozen=True, slots=True)
class NodeStart:
    """One ``ray start`` of a cluster.

    Attributes:
        name: ``head``, or the worker group's name and a number.
        command: what to run.
        agent_port: where its agent tells its health.
    """

    name: str
    command: tuple[str, ...]
    agent_port: int


@dataclass(frozen=True, slots=True)
class Ports:
    """The ports of a cluster as a whole: its GCS, its Ray Client proxy, its dashboard and the dashboard's metrics."""

    gcs: int
    client: int
    dashboard: int
    metrics: int


@dataclass(frozen=True, slots=True)
class Trail:
    """All that is fixed before a cluster's first process is started.

    Attributes:
        digest: of the cluster key.
        temp_dir: Ray's temporary directory, short because of its sockets.
        nodes: the head first.
        claim: the file whose changes tell that a daemon looks after the store's clusters.
        unclaimed_s: for how long it may stay unchanged before the cluster stops itself.
        grace_s: how long a node may take to end when asked.
        resident_share: of each node's object store that resident data may take.
    """

    store_id: str
    cluster_id: str
    digest: str
    temp_dir: str
    ports: Ports
    nodes: tuple[NodeStart, ...]
    claim: str
    unclaimed_s: float
    grace_s: float
    resident_share: float = 0.5

    @property
    def tasks_temp_dir(self) -> str:
        """The ``TMPDIR`` of its processes. Shorter than Ray's own sockets: those that Python makes in it fit too."""
        return f"{self.temp_dir}/{TASKS_TEMP}"

    @property
    def dashboard_url(self) -> str:
        """Where the cluster's HTTP API is."""
        return f"http://127.0.0.1:{self.ports.dashboard}"


@dataclass(frozen=True, slots=True)
class Running:
    """The processes of a cluster that its supervisor started, as of this boot of the kernel.

    Attributes:
        nodes: by node name.
        ended: how the nodes that ended did so, in words, by node name.
    """

    supervisor: Process | None = None
    nodes: dict[str, Process] = field(default_factory=dict)
    ended: dict[str, str] = field(default_factory=dict)

    @property
    def head(self) -> Process | None:
        """The head's ``ray start``."""
        return self.nodes.get("head")


@dataclass(frozen=True, slots=True)
class Ready:
    """What a start returned."""

    boot_id: str
    session_name: str
    address: str
    client_address: str
    ray_version: str


class Files:
    """The files of one cluster, by name."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.token = directory / "token"
        self.work = directory / "work"
        self.supervisor_log = directory / "supervisor.log"
        self._trail = directory / "trail.json"
        self._processes = directory / "processes.json"
        self._ready = directory / "ready.json"

    def log(self, node: str) -> Path:
        """Where the ``ray start`` of a node writes."""
        return self.directory / f"{node}.log"

    def write_trail(self, trail: Trail) -> None:
        """Write the trail, for good: it is on disk when this returns."""
        write_json(self._trail, asdict(trail), sync=True)

    def trail(self) -> Trail | None:
        """Return the trail, None if there is none yet."""
        data = read_json(self._trail)
        if data is None:
            return None
        nodes = tuple(NodeStart(n["name"], tuple(n["command"]), n["agent_port"]) for n in data.pop("nodes"))
        return Trail(nodes=nodes, ports=Ports(**data.pop("ports")), **data)

    def write_token(self, token: str) -> None:
        """Write the secret, never readable by anybody else."""
        with os.fdopen(os.open(self.token, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(token)

    def write_running(self, running: Running) -> None:
        """Write down which processes run."""
        write_json(self._processes, {"kernel_boot": kernel_boot(), **asdict(running)})

    def running(self) -> Running:
        """Return which processes were started; none if that was before the machine's last boot."""
        data = read_json(self._processes)
        if data is None or data["kernel_boot"] != kernel_boot():
            return Running()
        supervisor = data["supervisor"]
        return Running(
            supervisor=Process(**supervisor) if supervisor else None,
            nodes={name: Process(**process) for name, process in data["nodes"].items()},
            ended=data["ended"],
        )

    def write_ready(self, ready: Ready) -> None:
        """Write down that the cluster was ready, and as what."""
        write_json(self._ready, asdict(ready))

    def ready(self) -> Ready | None:
        """Return what the start returned, None if the cluster never was ready."""
        data = read_json(self._ready)
        return Ready(**data) if data is not None else None

    def delete(self, temp_dir: str) -> None:
        """Delete the temp dir and then all files; the trail is the last to go."""
        delete_temp_dir(temp_dir)
        if not self.directory.exists():
            return
        for path in self.directory.iterdir():
            if path == self._trail:
                continue
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
        shutil.rmtree(self.directory)


def make_temp_dir(path: str, store_id: str, cluster_id: str) -> None:
    """Make a cluster's temp dir, for its user alone, with a note that says whose it is and room for its processes'.

    Raises:
        FileExistsError: somebody made it before.
    """
    Path(path).mkdir(mode=0o700)
    (Path(path) / OWNER_FILE).write_text(f"{store_id} {cluster_id}\n")
    (Path(path) / TASKS_TEMP).mkdir(mode=0o700)


def delete_temp_dir(path: str) -> None:
    """Delete a cluster's temp dir; a directory that is not one of ours is left alone."""
    directory = Path(path)
    if not path or not directory.is_dir() or directory.stat().st_uid != os.getuid():
        return
    # Empty: whoever made it died before it could write the note.
    if (directory / OWNER_FILE).exists() or not any(directory.iterdir()):
        shutil.rmtree(directory, ignore_errors=True)


def write_json(path: Path, data: Any, *, sync: bool = False) -> None:
    """Write a JSON file as a whole: a reader sees the old or the new one."""
    draft = path.with_suffix(".new")
    with draft.open("w") as file:
        json.dump(data, file)
        if sync:
            file.flush()
            os.fsync(file.fileno())
    draft.replace(path)


def read_json(path: Path) -> Any:
    """Return the content of a JSON file, None if there is none."""
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        return None

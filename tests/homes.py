"""A place for daemons whose real clusters are ended with it, whatever happened."""

from __future__ import annotations

import contextlib
import json
import secrets
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil

from tests.serving import Served

CONFIG = """
listen: 127.0.0.1:{port}
backend: {{type: local, cpu: 8, unclaimed: 5m}}
reconcile_interval: 2s
defaults: {{lease_ttl: 10s, pickup: 10s}}
"""


class Home:
    """A place for daemons, whose real clusters are ended with it whatever happened."""

    def __init__(self, root: Path, store: str = "") -> None:
        self.root = root
        self._store = store

    def serve(self, name: str = "a", *arguments: str) -> Served:
        """Start a daemon; the same name is the same state directory and address."""
        home = self.root / name
        home.mkdir(exist_ok=True)
        chosen = home / "port"
        if not chosen.exists():
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                chosen.write_text(str(free.getsockname()[1]))
        config = CONFIG.format(port=chosen.read_text())
        if self._store:
            config += f"store: {{url: '{self._store}'}}\n"
        else:
            (home / "state" / "daemon.json").unlink(missing_ok=True)
        return Served(home, *arguments, config=config)

    def processes(self, name: str = "a", cluster_id: str = "") -> list[psutil.Process]:
        """Return the living processes of a daemon's clusters."""
        found = []
        state = str(self.root / name / "state")
        for process in psutil.process_iter():
            try:
                marks = process.environ()
                mine = marks.get("WARMPOOL_CLUSTER", "").endswith(cluster_id) and "WARMPOOL_CLUSTER" in marks
                ours = state in " ".join(process.cmdline()) or self._store_of(name) in marks.get("WARMPOOL_CLUSTER", "")
                if mine and ours and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def _store_of(self, name: str) -> str:
        # The clusters of a store lie below a directory that carries its id.
        stores = [path.name for path in (self.root / name / "state" / "clusters").glob("*")]
        return stores[0] if stores else "no cluster yet"


@contextlib.contextmanager
def a_home(store: str = "") -> Iterator[Home]:
    """Make a place, with a file or `store` for a store; end its clusters and see nothing of them left."""
    root = Path(f"/tmp/e{secrets.token_hex(3)}")
    root.mkdir()
    home = Home(root, store)
    try:
        yield home
        for name in (path.name for path in root.iterdir()):
            # A daemon that is told so stops every cluster of its store, also those that a killed one left.
            with home.serve(name, "--stop-clusters"):
                pass
            assert until(lambda name=name: not home.processes(name)), home.processes(name)
            assert not list((root / name / "state" / "clusters").glob("*/c-*"))
    finally:
        for name in (path.name for path in root.iterdir()):
            for process in home.processes(name):
                process.kill()
        shutil.rmtree(root, ignore_errors=True)


def until(holds: Callable[[], Any], bound_s: float = 60.0) -> bool:
    """Wait until something holds, for a bounded time."""
    end = time.monotonic() + bound_s
    while time.monotonic() < end:
        if holds():
            return True
        time.sleep(0.05)
    return False


def listed(served: Served, what: str) -> list[dict[str, Any]]:
    """Return what one of the daemon's commands lists."""
    done = served.run(what, "--json")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    return list(answer["items"] if isinstance(answer, dict) else answer)

"""The demo's own daemon: started, asked how it goes, and stopped together with its clusters."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import httpx
import yaml

from pool.demo.place import PYTHON, Place
from pool.statedir import OPERATOR_TOKEN_FILE, running
from pool.wire.lists import ClusterList, LeaseList, PoolList, WaiterList
from pool.wire.views import ClusterView, LeaseView, WaiterView


class ServiceError(Exception):
    """The daemon could not be started or did not answer, in one sentence."""


@dataclass(frozen=True)
class Look:
    """What the daemon says at one moment."""

    waiters: Sequence[WaiterView] = ()
    leases: Sequence[LeaseView] = ()
    clusters: Sequence[ClusterView] = ()


class Service:
    """A daemon in a `Place`, with the embedded default: local Ray and a SQLite file.

    Attributes:
        url: where it listens, once `start` returned.
    """

    def __init__(self, place: Place, settings: dict[str, Any] | None = None) -> None:
        """Prepare one.

        Args:
            place: where it lives.
            settings: of the configuration, over the demo's.
        """
        self._place = place
        self._settings = settings or {}
        self._process: subprocess.Popen[bytes] | None = None
        self._http: httpx.Client | None = None
        self.url = ""

    def start(self, pause: Callable[[], None]) -> None:
        """Start it and return when it is ready.

        Args:
            pause: waits a moment; may raise to give up.

        Raises:
            ServiceError: if it ended instead, with the last line of its log.
        """
        place = self._place
        config = place.root / "warmpool.yaml"
        config.write_text(yaml.safe_dump(self._configuration(), sort_keys=False), encoding="utf-8")
        command = [PYTHON, "-m", "pool.cli", "serve", "--config", str(config), "--stop-clusters"]
        self._process = place.start("daemon", command, place.environment())
        while (found := running(place.state_dir)) is None:
            if self._process.poll() is not None:
                code, said = self._process.returncode, last_line(place, "daemon")
                raise ServiceError(f"The daemon could not be started (code {code}): {said}")
            pause()
        self.url = found.url
        token = (place.state_dir / OPERATOR_TOKEN_FILE).read_text(encoding="utf-8").strip()
        self._http = httpx.Client(
            base_url=found.url, headers={"Authorization": f"Bearer {token}"}, timeout=10.0, trust_env=False
        )

    def _configuration(self) -> dict[str, Any]:
        place = self._place
        return {
            "listen": "127.0.0.1:0",
            "state_dir": str(place.state_dir),
            # If even the demo is killed, its clusters stop themselves.
            "backend": {"type": "local", "temp_root": str(place.root), "unclaimed": "60s"},
        } | self._settings

    def environment(self) -> dict[str, str]:
        """Return what a task needs to find the daemon."""
        return {"WARMPOOL_URL": self.url, "WARMPOOL_TOKEN_FILE": str(self._place.state_dir / "client.token")}

    def look(self) -> Look | None:
        """Ask how it goes; None if it does not answer just now."""
        try:
            return Look(
                WaiterList.model_validate(self._ask("GET", "/v1/waiters")).items,
                LeaseList.model_validate(self._ask("GET", "/v1/leases")).items,
                ClusterList.model_validate(self._ask("GET", "/v1/clusters")).items,
            )
        except httpx.HTTPError:
            return None

    def pools(self) -> PoolList:
        """Return its pools.

        Raises:
            httpx.HTTPError: if it does not answer.
        """
        return PoolList.model_validate(self._ask("GET", "/v1/pools"))

    def prewarm(self, key: dict[str, Any], count: int = 1) -> None:
        """Have `count` clusters of a key started.

        Raises:
            httpx.HTTPError: if it does not answer or refuses.
        """
        self._ask("POST", "/v1/prewarm", {"key": key, "count": count})

    def drain(self, cluster_id: str) -> None:
        """Have a cluster stopped.

        Raises:
            httpx.HTTPError: if it does not answer or refuses.
        """
        self._ask("POST", f"/v1/clusters/{cluster_id}/drain")

    def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        if self._http is None:
            raise httpx.ConnectError("the daemon was not started")
        return self._http.request(method, path, json=body).raise_for_status().json()

    @property
    def pid(self) -> int:
        """Its process id, 0 before it was started."""
        return self._process.pid if self._process is not None else 0

    def alive(self) -> bool:
        """Tell whether it runs."""
        return self._process is not None and self._process.poll() is None

    def stop(self) -> None:
        """Ask it to stop, with its clusters; see `Place.end` for what is left then."""
        if self._http is not None:
            self._http.close()
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()


def last_line(place: Place, name: str) -> str:
    """Return the last line that a program wrote, in at most 300 characters."""
    try:
        lines = place.log(name).read_text(encoding="utf-8", errors="replace").strip().splitlines()
    except OSError:
        lines = []
    return (lines[-1].strip() if lines else "it said nothing")[-300:]

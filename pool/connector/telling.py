"""What the connector tells Prometheus. Labels are few and fixed: never a task, a tenant or a cluster."""

from __future__ import annotations

import threading
from collections.abc import Sized
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server

from pool.connector.errors import NotServed
from pool.connector.status import Phase, Status

if TYPE_CHECKING:
    from wsgiref.simple_server import WSGIServer

_SECONDS = (0.5, 1, 2, 3, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600)


class Telling:
    """Counts attempts and times their phases."""

    def __init__(self, listen: str = "") -> None:
        """Listen for Prometheus at ``host:port``; empty for nowhere.

        Raises:
            NotServed: if it cannot.
        """
        self.registry = CollectorRegistry()
        self._ended = Counter(
            "warmpool_connector_attempts",
            "Task attempts that ended, by how, by how their lease came, by how they ran, and why not warm.",
            ["phase", "outcome", "how", "reason"],
            registry=self.registry,
        )
        self._modules = Counter(
            "warmpool_connector_modules",
            "Modules of their image that tasks in warm interpreters imported, by how: found preloaded, or not.",
            ["how"],
            registry=self.registry,
        )
        self._in_phase = Histogram(
            "warmpool_connector_phase_seconds",
            "Time that attempts spent in a phase, told as they leave it.",
            ["phase"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._in_all = Histogram(
            "warmpool_connector_attempt_seconds",
            "Time from the backend's first call for an attempt until its end, by how.",
            ["phase"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._running = Gauge(
            "warmpool_connector_attempts_open", "Task attempts that have not ended.", registry=self.registry
        )
        self._server: tuple[WSGIServer, threading.Thread] | None = None
        if listen:
            host, _, port = listen.rpartition(":")
            try:
                self._server = start_http_server(int(port), host.strip("[]"), self.registry)
            except (OSError, ValueError, OverflowError) as error:
                why = error.strerror if isinstance(error, OSError) else error
                raise NotServed(f"--metrics {listen}: {why}.") from None

    def watch(self, runs: Sized) -> None:
        """Have the number of open attempts told."""
        self._running.set_function(lambda: len(runs))

    def told(self, before: Phase, for_s: float, status: Status, after_s: float) -> None:
        """Count that an attempt went on to another phase.

        Args:
            before: the phase that it leaves.
            for_s: how long it was in that, in seconds.
            status: how it is now.
            after_s: how long ago it was first seen, in seconds.
        """
        self._in_phase.labels(before.value.lower()).observe(for_s)
        if status.phase.over:
            about, phase = status.about, status.phase.value.lower()
            how, reason = about.get("how", "none"), about.get("how_reason", "")
            self._ended.labels(phase, about.get("outcome", "none"), how, reason).inc()
            for kind in ("preloaded", "imported"):
                self._modules.labels(kind).inc(len(about.get(kind, "").split()))
            self._in_all.labels(phase).observe(after_s)

    def close(self) -> None:
        """Listen no more."""
        if self._server is not None:
            server, thread = self._server
            server.shutdown()
            server.server_close()
            thread.join()

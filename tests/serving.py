"""Real daemons in processes of their own, over simulated clusters."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

WAIT_S = 60.0
SIMULATED = "listen: 127.0.0.1:0\nbackend: {type: simulated, start: 50ms, stop: 10ms, reset: 10ms}\n"


def environment() -> dict[str, str]:
    """Return this process's environment without what would name another daemon."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("WARMPOOL_", "RAY_"))}


class Served:
    """``warmpool serve`` on a state directory. Ends with the `with` block."""

    def __init__(self, home: Path, *arguments: str, config: str = SIMULATED, path: Path | None = None) -> None:
        """Start it.

        Args:
            home: of its state directory, configuration and log; others may share it.
            arguments: of `serve`.
            config: the configuration's text.
            path: of another version of the code.
        """
        self.home = home
        home.mkdir(parents=True, exist_ok=True)
        self.config = home / "warmpool.yaml"
        self.config.write_text(config)
        self.state_dir = home / "state"
        self.log = home / f"log-{uuid.uuid4().hex[:6]}"
        python_path = {} if path is None else {"PYTHONPATH": str(path)}
        command = [sys.executable, "-m", "pool.cli", "serve", "--config", str(self.config)]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*command, "--state-dir", str(self.state_dir), *arguments],
                stdout=log, stderr=log, env=environment() | python_path, cwd=path, start_new_session=True,
            )  # fmt: skip

    def __enter__(self) -> Served:
        self.until(lambda: (self.state_dir / "daemon.json").exists(), "the daemon to announce itself")
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(WAIT_S)
        finally:
            self.process.kill()
            self.process.wait()

    @property
    def url(self) -> str:
        return str(json.loads((self.state_dir / "daemon.json").read_text())["url"])

    def until(self, holds: object, what: str) -> None:
        """Wait until `holds()`; fail with the log if it never does."""
        assert callable(holds)
        end = time.monotonic() + WAIT_S
        while not holds():
            if time.monotonic() > end or self.process.poll() is not None:
                raise AssertionError(f"waited for {what}; the log says {self.said()}")
            time.sleep(0.02)

    def said(self) -> str:
        return self.log.read_text()

    def end(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and return the exit code."""
        self.process.send_signal(number)
        return self.process.wait(WAIT_S)

    def run(self, *arguments: str, timeout_s: float = WAIT_S) -> subprocess.CompletedProcess[str]:
        """Run a command of this daemon's."""
        command = [sys.executable, "-m", "pool.cli", "--state-dir", str(self.state_dir), *arguments]
        return subprocess.run(command, capture_output=True, text=True, env=environment(), timeout=timeout_s)

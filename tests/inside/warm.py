"""Warm interpreters as processes of their own, without a cluster."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pool.inside import runner
from pool.inside.programs import runner_command

TOKEN = "the-clusters-token"


class Warm:
    """A runner, whose scripts are those of a directory that calls itself this interpreter's.

    With `packages` it is a virtual environment, in which these are installed: the text of each, by name.
    """

    def __init__(
        self,
        home: Path,
        preload: list[str] | None = None,
        packages: Mapping[str, str] | None = None,
        *,
        learns: bool = True,
        **variables: str,
    ) -> None:
        self.home = home
        if packages is not None:
            (home / "pyvenv.cfg").write_text(f"home = {Path(sys.executable).resolve().parent}\n")
            for name, text in packages.items():
                place = home / f"lib/python3.{sys.version_info.minor}/site-packages" / name
                place.mkdir(parents=True)
                (place / "__init__.py").write_text(text)
        self.bin = home / "bin"
        self.bin.mkdir()
        (self.bin / "python").symlink_to(sys.executable)
        self.logs = home / "logs"
        self.logs.mkdir()
        job = home / "job"
        job.mkdir()
        given = {"environment": {"OPERATORS": "value"}, "preload": preload or [], "learns": learns}
        (job / runner.GIVEN).write_text(json.dumps(given))
        temporary = home / "tmp"
        temporary.mkdir()
        environment = {
            "PATH": f"{self.bin}:{os.environ['PATH']}", "RAY_ADDRESS": "127.0.0.1:1", "HOME": str(home),
            "TMPDIR": str(temporary),
        }  # fmt: skip
        log = (self.logs / "job-driver-x.log").open("wb")
        self.process = subprocess.Popen(
            ["/bin/sh", "-c", runner_command()], cwd=job, stdout=log, stderr=log,
            env=environment | {"RAY_AUTH_TOKEN": TOKEN} | variables,
        )  # fmt: skip
        log.close()
        end = time.monotonic() + 30
        while runner.MARK not in (said := (self.logs / "job-driver-x.log").read_text()):
            assert time.monotonic() < end, said
            assert self.process.poll() is None, said
            time.sleep(0.02)
        told = json.loads(next(line for line in said.splitlines() if line.startswith(runner.MARK))[len(runner.MARK) :])
        self.port, self.loaded = told["port"], told["loaded"]
        assert not (job / runner.GIVEN).exists()

    def script(self, name: str, text: str) -> str:
        path = self.bin / name
        path.write_text(f"#!{self.bin}/python\n{text}")
        path.chmod(0o755)
        return name

    def ask(self, verb: str, task: str, token: str = TOKEN, **fields: Any) -> dict[str, Any]:
        with socket.create_connection(("127.0.0.1", self.port), timeout=30) as connection:
            connection.sendall(json.dumps({"token": token, "do": verb, "id": task, **fields}).encode() + b"\n")
            return dict(json.loads(connection.makefile().readline()))

    def run(self, task: str, command: str, unpacks: bool = True, **environment: str) -> dict[str, Any]:
        return self.ask("run", task, command=command, environment=environment, unpacks=unpacks)

    def ended(self, task: str) -> int:
        answer = self.ask("wait", task, bound_s=20)
        assert answer["state"] == "ended", answer
        return int(answer["code"])

    def told(self, task: str) -> tuple[list[str], list[str]]:
        """Return what a task imported of the image once it has ended, and what it found imported."""
        answer = self.ask("wait", task, bound_s=20)
        assert answer["code"] == 0, self.log(task)
        return answer["imported"], answer["found"]

    def said(self) -> str:
        """Return the interpreter's own log."""
        return (self.logs / "job-driver-x.log").read_text()

    def log(self, task: str) -> str:
        return str(self.ask("log", task)["log"])

    def close(self) -> None:
        self.process.kill()
        self.process.wait()


def until(holds: Any) -> None:
    end = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.02)

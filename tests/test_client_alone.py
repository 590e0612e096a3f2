"""`warmpool` without extras: what a task's image installs."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

PROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
SERVER = [re.split(r"[\[<>=]", needed)[0] for needed in PROJECT["optional-dependencies"]["server"]]
MODULES = {"prometheus-client": "prometheus_client", "pyyaml": "yaml"}

WITHOUT = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {absent!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name.partition(".")[0])
sys.meta_path.insert(0, Absent())
"""


def without_the_server(code: str) -> subprocess.CompletedProcess[str]:
    """Run code where nothing of the extra `server` can be imported."""
    absent = [MODULES.get(name, name) for name in SERVER]
    program = WITHOUT.format(absent=absent) + code
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)


def test_the_client_is_there() -> None:
    done = without_the_server("import pool; assert pool.lease and pool.alease\nfrom pool.client import Client\n")
    assert done.returncode == 0, done.stderr


def test_the_command_says_what_it_takes() -> None:
    done = without_the_server("from pool.cli import main; main()")
    assert (done.returncode, done.stdout) == (1, "")
    assert "warmpool[server]" in done.stderr
    assert "Traceback" not in done.stderr

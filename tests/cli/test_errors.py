from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.serving import environment


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this machine has no /dev/full, a Linux device")
def test_a_full_disk_is_told_with_the_remedy_and_no_traceback() -> None:
    command = [sys.executable, "-u", "-m", "pool.cli", "config", "show"]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, env=environment(), timeout=60)
    assert done.returncode == 1
    assert done.stderr == "error: no space left on device. Free disk space, then run it again.\n"

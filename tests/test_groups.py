"""Tests that must not run beside each other do not: pytest-xdist once lost its groups without a word."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

TESTS = """
import pytest

pytestmark = pytest.mark.xdist_group("one")


@pytest.mark.parametrize("i", range(6))
def test_that_is_grouped(i, worker_id):
    print(worker_id)
"""


def test_tests_of_one_group_run_on_one_worker(tmp_path: Path) -> None:
    (tmp_path / "test_grouped.py").write_text(TESTS)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    flags = ("-n", "2", "--dist", "loadgroup", "-rP", "-p", "no:asyncio", "-p", "no:cacheprovider")
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    done = subprocess.run(
        (sys.executable, "-m", "pytest", *flags, str(tmp_path)),
        cwd=tmp_path,
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    ran = [line for line in done.stdout.splitlines() if line in ("gw0", "gw1")]
    assert len(ran) == 6, done.stdout + done.stderr
    assert len(set(ran)) == 1

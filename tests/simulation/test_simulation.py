"""The whole system under faults, seed by seed. `make soak` runs more of them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.simulation.simulation import run

SEEDS = 2_000
CHUNK = 50


@pytest.mark.parametrize("first", range(0, SEEDS, CHUNK))
def test_the_system_survives_its_faults(first: int) -> None:
    for seed in range(first, first + CHUNK):
        run(seed)


def test_a_seed_repeats_its_run_exactly_in_another_process_too() -> None:
    # Another process hashes strings differently: nothing may depend on the order of a set.
    program = "from tests.simulation.simulation import run; print(run(7), run(8))"
    root = Path(__file__).parents[2]
    out = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"PYTHONHASHSEED": "1"},
        cwd=root,
        capture_output=True,
        text=True,
        check=True,
    )
    assert out.stdout.split() == [run(7), run(8)]

"""A cluster that is used again and again stays as it was, or is replaced."""

from __future__ import annotations

import pytest

from tests.e2e.soak import soak

pytestmark = [pytest.mark.ray, pytest.mark.timeout(600)]


async def test_thirty_leases_on_one_real_cluster_cost_what_the_first_did_and_leave_nothing() -> None:
    used = await soak(30)
    assert len({one.cluster for one in used}) == 1
    assert all(one.kept for one in used)
    assert all(one.cpu_s > 0 for one in used)
    assert used[-1].head_memory_bytes > 0
    assert 0 < used[-1].open_files < 10_000

"""A cluster that is used again and again stays as it was, or is replaced."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.leases import Used
from benchmarks.parts import line, parts
from tests.e2e.soak import Kept, see_flat, soak


@pytest.mark.ray
@pytest.mark.timeout(600)
async def test_thirty_leases_on_one_real_cluster_cost_what_the_first_did_and_leave_nothing() -> None:
    used = await soak(30)
    assert len({one.cluster for one in used}) == 1
    assert all(one.kept for one in used)
    assert all(one.cpu_s > 0 for one in used)
    assert used[-1].head_memory_bytes > 0
    assert 0 < used[-1].open_files < 10_000


def used_of(use: int, cluster: str = "s/c-1", cpu_s: float = 1.0) -> Used:
    return Used(cluster, use, 0.01, 2.0 + use, {"tasks_s": 0.5}, 1.5, cpu_s, True, 700_000_000 + use * 1_000_000, 80)


def test_a_soak_that_was_broken_off_goes_on_with_what_was_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "kept"
    kept = Kept(path)
    for use in range(1, 100):
        kept.add(used_of(use))
    assert capsys.readouterr().err == ""
    with path.open("a") as file:
        file.write('{"cluster": "s/c-1", "use": 10')  # it was killed here
    again = Kept(path)
    assert again.used == kept.used
    again.add(used_of(1, "t/c-1"))
    assert capsys.readouterr().err.startswith("leases 1-100, p50: 51.50 s a lease, 0.010 s until its grant")
    assert Kept(path).used == again.used
    see_flat(again.used)


def test_leases_that_come_to_cost_more_on_one_cluster_are_told_and_a_fresh_cluster_counts_anew() -> None:
    used = [used_of(use, cpu_s=1.0 if use <= 20 else 4.0) for use in range(1, 31)]
    with pytest.raises(AssertionError, match=r"leases cost 4\.00 s after 30 of them, and 1\.00 s at first"):
        see_flat(used)
    see_flat([used_of(use, f"s/c-{cluster}", cpu_s=cluster) for cluster in (1, 4) for use in range(1, 31)])


def test_what_leases_took_is_told_by_the_hundred() -> None:
    rows = parts([used_of(use) for use in range(1, 251)])
    assert [row["leases"] for row in rows] == ["1-100", "101-200", "201-250"]
    assert [row["lease_s"] for row in rows] == [52.5, 152.5, 227.5]
    assert [row["head_memory_mb"] for row in rows] == [750.5, 850.5, 925.5]
    assert line(rows[0]) == (
        "leases 1-100, p50: 52.50 s a lease, 0.010 s until its grant, 1.50 s its reset, 1.00 s of a core; "
        "750 MB, 80 files"
    )

"""Processes are sorted while they end."""

from __future__ import annotations

import pytest

from pool.backends.local import census
from pool.backends.local.processes import Entry, Process
from pool.backends.local.trail import Running

COMMANDS = {
    1: ["supervisor"],
    2: ["ray", "start"],
    3: ["/site-packages/ray/raylet"],
    4: ["ray::IDLE"],
    5: ["ray::train"],
    6: ["python", "default_worker.py"],
    7: ["sleep", "60"],
}
PARENTS = {1: 0, 2: 1, 3: 2, 4: 3, 5: 3, 6: 3, 7: 1}
ENTRIES = {pid: Entry(pid, pid, parent, 1, "S") for pid, parent in PARENTS.items()}
RUNNING = Running(Process(1, 1), {"head": Process(2, 2)})


@pytest.mark.parametrize("answered", range(4))
@pytest.mark.parametrize("gone", [4, 5, 6, 7])
def test_a_process_that_ends_while_it_is_looked_at_changes_nothing_for_the_others(
    gone: int, answered: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    readings: list[int] = []

    def command(pid: int) -> list[str]:
        readings.append(pid)
        return [] if pid == gone and readings.count(gone) > answered else COMMANDS[pid]

    monkeypatch.setattr(census, "command", command)
    monkeypatch.setattr(census, "for_code", lambda pid: False)
    found = census.sort(ENTRIES, RUNNING)
    assert [title for process, title in found.busy if process.pid != gone] == ["ray::train"] * (gone != 5)
    assert [title for process, title in found.left if process.pid != gone] == ["sleep 60"] * (gone != 7)
    assert found.idle >= 2 - (gone in (4, 6))

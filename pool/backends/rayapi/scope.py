"""What of a cluster a reset may touch: everything, or what began in the time of one lease."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from pool.backends.rayapi.inside import PREFIX
from pool.inside.tables import SUPERVISOR

Row = dict[str, Any]


@dataclass(slots=True)
class Began:
    """What began between two times of the head's clock, and what that has made since.

    A submitted job and a driver began when Ray says so; an actor, also a detached one, and a placement group belong to
    the driver that made them, whenever that was. So what drivers make that ran before is not touched.

    Attributes:
        since_ms, until_ms: milliseconds since the epoch.
        submissions: ids of the submitted jobs that began then, as of the last look.
        drivers: ids of the jobs of such drivers.
        others: ids of the jobs of drivers that began at another time.
    """

    since_ms: int
    until_ms: int
    submissions: set[str] = field(default_factory=set)
    drivers: set[str] = field(default_factory=set)
    others: set[str] = field(default_factory=set)

    def jobs(self, rows: list[Row]) -> list[Row]:
        """Return the rows of ``/api/jobs/`` that began then."""
        mine = [row for row in rows if self._began(row)]
        self.submissions = {str(row["submission_id"]) for row in mine if row.get("submission_id")}
        self.drivers = {str(row["job_id"]) for row in mine if row.get("job_id")}
        self.others = {str(row["job_id"]) for row in rows if row.get("job_id")} - self.drivers
        return mine

    def _began(self, row: Row) -> bool:
        ours = str(row.get("submission_id")).startswith(PREFIX)
        return not ours and self.since_ms <= int(row.get("start_time") or 0) <= self.until_ms

    def actor(self, row: Row) -> bool:
        """Tell whether an actor is to go. Whose it is that no job shown has made, only a look inside can tell."""
        name = str(row["name"])
        if name.startswith(SUPERVISOR):
            return name.removeprefix(SUPERVISOR) in self.submissions
        return row["job_id"] not in self.others

    def group(self, row: Row) -> bool:
        """Tell whether a placement group is to go."""
        return row["creator_job_id"] not in self.others

    def certain(self, job_id: str) -> bool:
        """Tell whether a job shown began then."""
        return job_id in self.drivers

    def given(self) -> dict[str, Any]:
        """Return what `pool.inside.sweep` is told."""
        return {
            "since_ms": self.since_ms,
            "until_ms": self.until_ms,
            "submissions": sorted(self.submissions),
        }

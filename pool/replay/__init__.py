"""Replays demand through the daemon's own brain in simulated time: to try a policy before it is used.

The core, the policies and the store protocol are the daemon's; only the clock, the holders and the clusters are
simulated. See `pool.replay.run` for how, `pool.replay.hindsight` for what the outcome is compared with.
"""

from pool.replay.demand import Job
from pool.replay.formats import FORMATS, read
from pool.replay.history import jobs_of
from pool.replay.report import Report, report
from pool.replay.rows import Unreadable
from pool.replay.run import Replay
from pool.replay.times import Times

__all__ = ["FORMATS", "Job", "Replay", "Report", "Times", "Unreadable", "jobs_of", "read", "report"]

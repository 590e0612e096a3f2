"""What can go wrong between a Flyte backend and a leased cluster."""

from __future__ import annotations

from pool.core.errors import PoolError
from pool.core.reasons import Reason


class Refused(PoolError):
    """A task asks for what a leased cluster cannot give: it fails with this sentence, and nothing of it is dropped."""

    reason = Reason.INVALID_REQUEST
    remedy = "Change the task, or route its type back to Flyte's Ray plugin."


class NotServed(PoolError):
    """The connector cannot listen as it was told to."""

    reason = Reason.INVALID_REQUEST
    remedy = "See `warmpool connector --help`."

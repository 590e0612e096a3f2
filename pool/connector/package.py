"""What is sent to a cluster to start a task there.

The command and its environment travel as a file in a package, which Ray hands to the job as its working directory:
Ray's job list shows neither. The program that reads it travels in the entrypoint, since an image need not have
anything of ours.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from typing import Any

from pool.connector.plan import PREFIX, Plan
from pool.inside import place, start
from pool.inside.sending import command_of

_EPOCH = (1980, 1, 1, 0, 0, 0)


def name_of(job: str) -> str:
    """Return the name of a job's package, as Ray wants them."""
    return f"_ray_pkg_{job.removeprefix(PREFIX)}.zip"


def package(plan: Plan, environment: Mapping[str, str]) -> bytes:
    """Return the package of a plan.

    Args:
        plan: what to run.
        environment: the connector's own variables; the task's win.
    """
    given = {
        "id": plan.id,
        "command": plan.command,
        "environment": {**environment, **plan.environment},
        "unpacks": plan.unpacks,
    }
    return packed(start.GIVEN, given)


def packed(name: str, given: Mapping[str, Any]) -> bytes:
    """Return a package of one JSON file. The same content gives the same package."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(zipfile.ZipInfo(name, _EPOCH), json.dumps(given, sort_keys=True))
    return out.getvalue()


def entrypoint() -> str:
    """Return the command line of a job."""
    return command_of(place, start)

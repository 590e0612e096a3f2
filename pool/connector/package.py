"""What is sent to a cluster to start a task there.

The command and its environment travel as a file in a package, which Ray hands to the job as its working directory:
Ray's job list shows neither. The program that reads it travels in the entrypoint, since an image need not have
anything of ours.
"""

from __future__ import annotations

import base64
import io
import json
import shlex
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

from pool.connector.plan import PREFIX, Plan
from pool.inside import start

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
        "command": plan.command,
        "environment": {**environment, **plan.environment},
        "unpacks": plan.unpacks,
    }
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        # The same plan gives the same package.
        archive.writestr(zipfile.ZipInfo(start.GIVEN, _EPOCH), json.dumps(given, sort_keys=True))
    return out.getvalue()


def entrypoint() -> str:
    """Return the command line of a job."""
    packed = base64.b64encode(zlib.compress(Path(start.__file__).read_bytes(), 9)).decode()
    # Some images have only the one name, some only the other.
    python = "$(command -v python || command -v python3)"
    program = f"import base64,zlib;exec(zlib.decompress(base64.b64decode('{packed}')))"
    return f"exec {python} -c {shlex.quote(program)}"

"""Runs `pool.inside.sweep` in a cluster, as one submitted job."""

from __future__ import annotations

import ast
import asyncio
import base64
import json
import shlex
import uuid
import zlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from pool.backends.rayapi.dashboard import Dashboard, DashboardError
from pool.core.model import Wear
from pool.inside import owner, processes, sweep

BOUND_S = 5.0
"""How long the sweep waits for what goes by itself."""
JOB_BOUND_S = 30.0
PREFIX = "warmpool-reset-"
UNKNOWN = Wear()
ENDED = ("SUCCEEDED", "FAILED", "STOPPED")


@dataclass(frozen=True, slots=True)
class Swept:
    """What was removed inside the cluster, what would not go, a sentence each, and how much the cluster has grown."""

    removed: tuple[str, ...]
    left: tuple[str, ...]
    wear: Wear = UNKNOWN


async def swept(
    dashboard: Dashboard,
    *,
    processes: bool,
    prestart: bool,
    spare_resident: bool,
    began: dict[str, Any] | None = None,
) -> Swept:
    """Have the cluster swept from inside, and return once the job has ended.

    Args:
        dashboard: of the cluster.
        processes: whether every process in the nodes' pid namespaces belongs to the cluster.
        prestart: whether the nodes shall start idle workers afterwards.
        spare_resident: whether resident data stays, with its owners.
        began: what alone is to be removed; see `pool.backends.rayapi.scope`.

    Raises:
        DashboardError: if it could not be run, or did not end well.
    """
    spare = [owner.NAMESPACE, owner.PREFIX] if spare_resident else None
    given = {"processes": processes, "prestart": prestart, "bound_s": BOUND_S, "spare": spare, "began": began}
    await _forget_earlier(dashboard)
    job = f"{PREFIX}{uuid.uuid4().hex[:12]}"
    await dashboard.submit(job, entrypoint(given))
    try:
        async with asyncio.timeout(JOB_BOUND_S):
            status = await _ended(dashboard, job)
    except TimeoutError:
        await dashboard.stop_job(job)
        raise DashboardError(f"the sweep inside the cluster did not end within {JOB_BOUND_S:.0f} s") from None
    said = str((await dashboard.get(f"/api/jobs/{job}/logs"))["logs"])
    result = next((line for line in reversed(said.splitlines()) if line.startswith(sweep.MARK)), None)
    if status["status"] != "SUCCEEDED" or result is None:
        tail = (said.strip() or str(status.get("message") or "it said nothing"))[-300:]
        raise DashboardError(f"the sweep inside the cluster failed: {tail}")
    found = json.loads(result.removeprefix(sweep.MARK))
    return Swept(tuple(found["removed"]), tuple(found["left"]), Wear(**found["wear"]))


def entrypoint(given: dict[str, Any]) -> str:
    """Return the command line of the job. The program travels in it: an image need not have anything of ours."""
    # Some images have only the one name, some only the other.
    python = "$(command -v python || command -v python3)"
    return f"exec {python} -c {shlex.quote(_program())} {shlex.quote(json.dumps(given))}"


@cache
def _program() -> str:
    """Return the program: its files are run one after the other as one module, and import from that.

    Ray sends functions of such a module to other nodes by value.
    """
    texts = {module.__name__: _bare(Path(str(module.__file__)).read_text("utf-8")) for module in (processes, sweep)}
    packed = base64.b85encode(zlib.compress(json.dumps(texts).encode(), 9)).decode()
    unpacked = f"json.loads(zlib.decompress(base64.b85decode('{packed}')))"
    run = "(exec(t,globals()),sys.modules.__setitem__(n,sys.modules['__main__']))"
    return f"import base64,json,sys,zlib;[{run} for n,t in {unpacked}.items()]"


def _bare(text: str) -> str:
    """Return a program without its docstrings and comments."""
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            node.body = [one for one in node.body if not _is_said(one)] or [ast.Pass()]
    return ast.unparse(tree)


def _is_said(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


async def _forget_earlier(dashboard: Dashboard) -> None:
    """Have Ray forget earlier sweeps: it never does by itself.

    Not at a sweep's own end: for a second Ray still watches over the job, and would record it anew, as failed.
    """
    jobs = await dashboard.get("/api/jobs/")
    ours = [job["submission_id"] for job in jobs if str(job["submission_id"]).startswith(PREFIX)]
    await asyncio.gather(*(dashboard.delete_job(job) for job in ours), return_exceptions=True)


async def _ended(dashboard: Dashboard, job: str) -> dict[str, Any]:
    pause_s = 0.1
    while True:
        found: dict[str, Any] = await dashboard.get(f"/api/jobs/{job}")
        if found["status"] in ENDED:
            return found
        await asyncio.sleep(pause_s)
        pause_s = min(pause_s * 1.2, 0.5)

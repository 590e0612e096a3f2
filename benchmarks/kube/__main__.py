"""Measure on a real Kubernetes, one part after the other; a part's name as argument measures it alone.

The result file keeps the latest of each part, with the commit and the time of its own.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.kube import chain, connector, drivers, reset, scale, service, writes
from benchmarks.report import RESULTS, commit, fail, finish
from pool.kube.api import CORE, Api
from tests.kube.release import DAEMON, WITHOUT, Release

PARTS = ("writes", "reset", "chain", "connector", "drivers", "service", "scale")
FIGURES = (
    *("chain_speedup", "chain_speedup_pods", "service_over_loopback", "writes_per_warm_grant", "writes_per_cycle"),
    *("cold_start_s", "provisioned_s", "restart_s", "rss_mb", "idle_cpu_percent", "p50_s", "ray_job_p50_s"),
    *("reset_p50_s", "reset_with_worker_p50_s"),
)


async def measure(parts: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    """Return what each part found."""
    api = await Api.connect()
    found: dict[str, dict[str, Any]] = {}
    try:
        for part in parts:
            with tempfile.TemporaryDirectory(prefix="warmpool-bench-") as root:
                print(f"{part} ...", file=sys.stderr, flush=True)
                found[part] = await _part(part, api, Path(root))
                print(f"{part}: {found[part]}", file=sys.stderr, flush=True)
    finally:
        await api.close()
    return found


async def _part(part: str, api: Api, root: Path) -> dict[str, Any]:
    name = f"warmpool-bench-{uuid.uuid4().hex[:6]}"
    in_pods = {
        "chain": lambda release: chain.measure(release, root),
        "connector": lambda release: connector.measure(release, root),
        "drivers": drivers.measure,
        "service": service.measure,
    }
    if part in in_pods:
        release = Release(api, root, name)
        await release.prepare()
        try:
            return await in_pods[part](release)
        finally:
            await release.clear()
    await api.create(f"{CORE}/namespaces", {"metadata": {"name": name}})
    try:
        if part == "reset":
            return await reset.measure(api, name)
        kubeconfig = os.environ["KUBECONFIG"]
        return await (writes if part == "writes" else scale).measure(api, name, root, kubeconfig)
    finally:
        await api.delete(f"{CORE}/namespaces/{name}")


def main() -> None:
    """Measure, print what was found, and write the result."""
    if not os.environ.get("KUBECONFIG"):
        fail("say which Kubernetes: make bench-kube KUBECONFIG=~/.kube/config")
    if not DAEMON or not chain.TASK_IMAGE:
        fail(f"{WITHOUT}; and a task's image, deploy/task.Dockerfile, in WARMPOOL_TEST_TASK_IMAGE")
    parts = tuple(sys.argv[1:]) or PARTS
    if unknown := set(parts) - set(PARTS):
        fail(f"{', '.join(sorted(unknown))} is no part; known are {', '.join(PARTS)}")
    made = {"commit": commit(), "when": datetime.now(UTC).isoformat(timespec="seconds")}
    measured = {part: {**found, **made} for part, found in asyncio.run(measure(parts)).items()}
    kept = _kept() | measured
    figures = {name: value for part in kept.values() for name, value in part.items() if name in FIGURES}
    finish("kube", "make bench-kube", {name: figures.get(name) for name in FIGURES}, kept)


def _kept() -> dict[str, dict[str, Any]]:
    """Return what was measured before, by part."""
    file = RESULTS / "kube.json"
    found: dict[str, dict[str, Any]] = json.loads(file.read_text())["detail"] if file.exists() else {}
    return found


if __name__ == "__main__":
    main()

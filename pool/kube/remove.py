"""Delete the RayClusters with a label, in every namespace: ``python -m pool.kube.remove LABEL=VALUE``.

For what comes after a daemon: whatever it knew is gone, and only the clusters' labels tell whose they were.
"""

from __future__ import annotations

import asyncio
import sys

from pool.kube.api import RAY, Api, ApiError


async def remove(selector: str) -> int:
    """Delete the RayClusters that a label selector takes, and return how many there were.

    What belongs to one (pods, Secret) goes with it: Kubernetes sees to that.

    Raises:
        ApiError: if Kubernetes cannot be reached, or refuses.
    """
    api = await Api.connect()
    try:
        found = await api.get(f"{RAY}/rayclusters", labelSelector=selector)
        for item in found["items"]:
            meta = item["metadata"]
            await api.delete(f"{RAY}/namespaces/{meta['namespace']}/rayclusters/{meta['name']}", meta["uid"])
            print(f"deleted RayCluster {meta['namespace']}/{meta['name']}", flush=True)
        return len(found["items"])
    finally:
        await api.close()


def main() -> None:
    """Run as a program."""
    if len(sys.argv) != 2 or "=" not in sys.argv[1]:
        raise SystemExit("Say which: python -m pool.kube.remove LABEL=VALUE")
    try:
        count = asyncio.run(remove(sys.argv[1]))
    except ApiError as error:
        raise SystemExit(str(error)) from None
    print(f"{count} RayClusters had {sys.argv[1]}")


if __name__ == "__main__":
    main()

"""The jobs of one cluster, over its HTTP API."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import httpx

from pool.wire.leases import ClusterAccess

ENDED = ("SUCCEEDED", "FAILED", "STOPPED")
TIMEOUT_S = 10.0


class JobsError(Exception):
    """The API did not answer, or not with success; says what was asked and what came."""


class Jobs:
    """Asks one cluster. Its token goes into a header of each request, and nowhere else."""

    def __init__(self, http: httpx.AsyncClient, cluster: ClusterAccess) -> None:
        self._http = http
        self.url = cluster.dashboard_url.rstrip("/")
        self._headers = {"Authorization": f"Bearer {cluster.token}"}

    async def status(self, job: str) -> dict[str, Any] | None:
        """Return what Ray knows of a job; None if there is none of this name.

        Raises:
            JobsError: if it cannot be said.
        """
        answer = await self._ask("GET", f"/api/jobs/{job}", ok=(200, 404))
        return None if answer.status_code == 404 else dict(answer.json())

    async def all(self) -> list[dict[str, Any]]:
        """Return what Ray knows of every job.

        Raises:
            JobsError: if it cannot be said.
        """
        return [dict(job) for job in (await self._ask("GET", "/api/jobs/")).json()]

    async def submit(
        self,
        job: str,
        entrypoint: str,
        package: tuple[str, bytes],
        runtime_env: Mapping[str, Any],
        metadata: Mapping[str, str],
    ) -> None:
        """Submit a job, unless it is there already: it never runs twice.

        Args:
            job: its id.
            entrypoint: its command line.
            package: name and content of its working directory.
            runtime_env: of the job besides.
            metadata: what to show with it.

        Raises:
            JobsError: if it is not known to run.
        """
        if await self.status(job) is not None:
            return
        name, content = package
        await self._ask("PUT", f"/api/packages/gcs/{name}", content=content)
        body = {
            "submission_id": job,
            "entrypoint": entrypoint,
            "runtime_env": {**runtime_env, "working_dir": f"gcs://{name}"},
            "metadata": dict(metadata),
        }
        try:
            await self._ask("POST", "/api/jobs/", json=body, timeout=60.0)
        except JobsError:
            # Its answer may have been lost, or somebody who goes on with the same attempt was faster.
            if await self.status(job) is None:
                raise

    async def stop(self, job: str) -> None:
        """Ask that a job be stopped; it may take a moment. One that is not there is stopped.

        Raises:
            JobsError: if the request was not accepted.
        """
        await self._ask("POST", f"/api/jobs/{job}/stop", ok=(200, 404))

    async def log(self, job: str) -> str:
        """Return what a job wrote.

        Raises:
            JobsError: if it cannot be had.
        """
        answer = await self._ask("GET", f"/api/jobs/{job}/logs", timeout=30.0)
        return str(answer.json().get("logs") or "")

    async def _ask(self, method: str, path: str, *, ok: tuple[int, ...] = (200,), **fields: Any) -> httpx.Response:
        fields.setdefault("timeout", TIMEOUT_S)
        try:
            answer = await self._http.request(method, self.url + path, headers=self._headers, **fields)
        except httpx.HTTPError as error:
            raise JobsError(f"{method} {path}: {str(error) or type(error).__name__}") from None
        if answer.status_code not in ok:
            raise JobsError(f"{method} {path}: {answer.status_code} {answer.text[-300:]}")
        return answer

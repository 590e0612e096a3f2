"""The HTTP API of one cluster, as far as the daemon needs it."""

from __future__ import annotations

from typing import Any

import aiohttp

from pool.backends.rayapi.headclock import HeadClock

STATE_LIMIT = 1000
"""How many rows of a state table are asked for: what is looked for is normally none."""


class DashboardError(Exception):
    """The API did not answer, or not with success; says what was asked and what came."""

    def __init__(self, detail: str, status: int = 0) -> None:
        super().__init__(detail)
        self.status = status


class Dashboard:
    """Asks one cluster. The token goes into a header of each request, and nowhere else."""

    def __init__(
        self,
        http: aiohttp.ClientSession,
        url: str,
        token: str,
        timeout_s: float = 10.0,
        clock: HeadClock | None = None,
    ) -> None:
        self.url = url
        self._clock = clock
        self._http = http
        self._headers = {"Authorization": f"Bearer {token}"}
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)

    async def get(self, path: str, params: dict[str, str] | None = None) -> Any:
        """Return the JSON that `path` answers.

        Raises:
            DashboardError: if it does not.
        """
        return await self._ask("GET", path, params)

    async def stop_job(self, submission_id: str) -> None:
        """Ask that a submitted job be stopped; it may take a moment.

        Raises:
            DashboardError: if the request was not accepted.
        """
        await self._ask("POST", f"/api/jobs/{submission_id}/stop", None)

    async def submit(self, submission_id: str, entrypoint: str) -> None:
        """Submit a job.

        Raises:
            DashboardError: if it was not accepted.
        """
        await self._ask("POST", "/api/jobs/", None, {"submission_id": submission_id, "entrypoint": entrypoint})

    async def delete_job(self, submission_id: str) -> None:
        """Have Ray forget a job that ended.

        Raises:
            DashboardError: if it does not.
        """
        await self._ask("DELETE", f"/api/jobs/{submission_id}", None)

    async def state(self, table: str, *filters: tuple[str, str, str]) -> list[dict[str, Any]]:
        """Return rows of a table of Ray's state API, with all columns.

        Args:
            table: ``actors``, ``placement_groups``, ``workers``, ``nodes``.
            filters: (column, ``=`` or ``!=``, value).

        Raises:
            DashboardError: also if the answer was not complete.
        """
        params: list[tuple[str, str]] = [("detail", "1"), ("limit", str(STATE_LIMIT))]
        for column, predicate, value in filters:
            params += [("filter_keys", column), ("filter_predicates", predicate), ("filter_values", value)]
        answer = await self._ask("GET", f"/api/v0/{table}", params)
        if not answer.get("result"):
            raise DashboardError(f"{table}: {answer.get('msg', 'no answer')}")
        found = answer["data"]["result"]
        if found.get("partial_failure_warning"):
            raise DashboardError(f"{table}: {found['partial_failure_warning']}")
        rows: list[dict[str, Any]] = found["result"]
        return rows

    async def healthy(self) -> bool:
        """Tell whether the GCS answers the dashboard."""
        try:
            async with self._http.get(f"{self.url}/api/gcs_healthz", timeout=self._timeout) as response:
                return response.status == 200
        except (aiohttp.ClientError, TimeoutError):
            return False

    async def refuses_strangers(self, path: str) -> bool:
        """Tell whether a call without the token is refused.

        Raises:
            DashboardError: if there was no answer at all.
        """
        try:
            async with self._http.get(self.url + path, timeout=self._timeout) as response:
                return response.status in (401, 403)
        except (aiohttp.ClientError, TimeoutError) as error:
            raise DashboardError(f"GET {path}: {str(error) or 'no answer in time'}") from error

    async def _ask(self, method: str, path: str, params: Any, body: Any = None) -> Any:
        url = self.url + path
        asked_at = self._clock.now() if self._clock is not None else 0.0
        try:
            async with self._http.request(
                method, url, params=params, json=body, headers=self._headers, timeout=self._timeout
            ) as response:
                if self._clock is not None:
                    self._clock.note(asked_at, self._clock.now(), response.headers.get("Date", ""))
                if response.status != 200:
                    text = (await response.text())[:200]
                    raise DashboardError(f"{method} {path}: {response.status} {text}", response.status)
                return await response.json()
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise DashboardError(f"{method} {path}: {str(error) or 'no answer in time'}") from error

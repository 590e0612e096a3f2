"""What Kubernetes has of one kind, kept by a list and a watch; nothing is polled."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Callable
from typing import Any

import structlog

from pool.kube.api import Api, ApiError, end, events

log = structlog.get_logger(__name__)

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.2, 10.0
PAGE = 500
Changed = Callable[[dict[str, Any], bool], None]
"""Called with an object that was added, changed or (True) deleted."""


class Cache:
    """The objects at one path of the API, by uid.

    Args:
        api: what is asked.
        path: of the collection.
        keep: what of an object is kept in memory; None of one that is not wanted.
        changed: told of every difference.
        watch_s: a watch is renewed after so long.
        silence_s: a watch that says nothing for so much longer is taken for dead.
        query: selectors.
    """

    def __init__(
        self,
        api: Api,
        path: str,
        keep: Callable[[dict[str, Any]], dict[str, Any] | None],
        changed: Changed,
        *,
        watch_s: float,
        silence_s: float,
        query: dict[str, str] | None = None,
    ) -> None:
        self.items: dict[str, dict[str, Any]] = {}
        self.failed = ""
        self._api, self._path, self._keep, self._changed = api, path, keep, changed
        self._watch_s, self._silence_s, self._query = watch_s, silence_s, query or {}
        self._version = ""
        self._listed, self._tried = asyncio.Event(), asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def fresh(self) -> bool:
        """Tell whether the objects are what the API server had a moment ago: the watch stands."""
        return self._listed.is_set() and not self.failed

    def start(self) -> None:
        """Begin to list and watch."""
        self._task = asyncio.create_task(self._run(), name=f"watch {self._path}")

    async def close(self) -> None:
        """Stop."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def listed(self, timeout_s: float) -> bool:
        """Wait until the objects were listed once, or could not be; tell whether they were."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._tried.wait()
        return self._listed.is_set()

    async def _run(self) -> None:
        pause_s = FIRST_PAUSE_S
        while True:
            began = time.monotonic()
            try:
                if not self._version:
                    await self._list()
                await self._follow()
                pause_s = FIRST_PAUSE_S
                continue
            except ApiError as error:
                if error.status == 410:
                    self._version = ""
                if not self.failed:
                    log.warning("the watch of Kubernetes broke, trying again", path=self._path, cause=str(error))
                self.failed = str(error)
            except Exception as error:
                log.exception("a watch failed in an unforeseen way, listing anew", path=self._path)
                self._version, self.failed = "", f"{type(error).__name__}: {error}"
            # Who waits for the first list is not kept waiting for one that does not come.
            self._tried.set()
            if time.monotonic() - began > LONGEST_PAUSE_S:
                pause_s = FIRST_PAUSE_S
            # Whoever lost the same API server does not come back to it in step.
            await asyncio.sleep(pause_s * random.uniform(0.5, 1.0))  # noqa: S311
            pause_s = min(pause_s * 2, LONGEST_PAUSE_S)

    async def _list(self) -> None:
        found: dict[str, dict[str, Any]] = {}
        token, version = "", ""
        while True:
            page = await self._api.get(self._path, limit=PAGE, **({"continue": token} if token else {}), **self._query)
            for item in page["items"]:
                kept = self._keep(item)
                if kept is not None:
                    found[kept["metadata"]["uid"]] = kept
            token, version = page["metadata"].get("continue", ""), page["metadata"]["resourceVersion"]
            if not token:
                break
        before, self.items = self.items, found
        self._version, self.failed = version, ""
        self._listed.set()
        self._tried.set()
        for uid, item in before.items():
            if uid not in found:
                self._changed(item, True)
        for item in found.values():
            self._changed(item, False)

    async def _follow(self) -> None:
        query = {**self._query, "resourceVersion": self._version, "timeoutSeconds": str(int(self._watch_s))}
        # Bookmarks come about once a minute: a connection that is silent for longer is half open.
        watch = await self._api.watch(self._path, min(self._watch_s, 75.0) + self._silence_s, **query)
        try:
            self.failed = ""
            async for event in events(watch):
                self._take(event)
        finally:
            end(watch)

    def _take(self, event: dict[str, Any]) -> None:
        kind, item = event["type"], event["object"]
        if kind == "ERROR":
            raise ApiError(int(item.get("code", 500)), str(item.get("message", "the watch ended with an error")))
        self._version = item["metadata"]["resourceVersion"]
        if kind == "BOOKMARK":
            return
        uid = item["metadata"]["uid"]
        kept = self._keep(item)
        if kept is None:
            return
        if kind == "DELETED":
            self.items.pop(uid, None)
        else:
            self.items[uid] = kept
        self._changed(kept, kind == "DELETED")

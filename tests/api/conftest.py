"""The API over a daemon that a test drives by hand: the real core, a clock that stands, no store and no backend."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from prometheus_client import CollectorRegistry, Counter

from policies.grant_order import MostRecentlyUsed
from policies.queue_order import PriorityWithAging
from policies.reclaim import FixedTTL
from policies.sizing import FloorAndBuffer
from pool.access import Access, Role
from pool.api.app import Server, create_app, serve
from pool.core.decide import decide, due_events
from pool.core.decisions import Answer, Decision, Granted, Queued, Rejected, Reply, Stop
from pool.core.errors import ShapeTooLarge
from pool.core.events import Acquire, Event, ResetDone, Started, Stopped
from pool.core.explain import queued
from pool.core.key import ClusterKey
from pool.core.model import Cluster, ClusterState, Lease, Waiter
from pool.core.settings import PoolSettings, Rules
from pool.core.state import State
from pool.store.books import Books, Entries, added, entries
from pool.tokens import Tokens

Json = dict[str, Any]
TENANT = "flytesnacks/development"


def settings_for(_key: ClusterKey) -> PoolSettings:
    return PoolSettings(
        name="default",
        grant_order=MostRecentlyUsed(),
        queue_order=PriorityWithAging(),
        sizing=FloorAndBuffer(),
        reclaim=FixedTTL(600.0),
        max_waiting=3,
    )


class Hands:
    """A daemon whose clusters become ready, clean and gone when a test says so."""

    def __init__(self) -> None:
        self.state = State(Rules(settings_for))
        self.tokens = Tokens(b"s" * 32)
        self.ready = True
        self.standing_by = ""
        self.failed = ""
        self.error: Exception | None = None
        self.hold_submits: asyncio.Event | None = None
        self.held = 0
        self.events: list[Event] = []
        self.gone_clusters: dict[str, Cluster] = {}
        self.gone_leases: dict[str, Lease] = {}
        self.books = Books()
        self.entered = entries()
        self._now = 1_700_000_000.0
        self._listeners: dict[str, asyncio.Future[Granted | Rejected | Queued]] = {}
        self._observers: list[Callable[[Decision], None]] = []

    def observe(self, observer: Callable[[Decision], None]) -> None:
        self._observers.append(observer)

    @property
    def clock(self) -> Hands:
        return self

    @property
    def records(self) -> Hands:
        return self

    def now(self) -> float:
        return self._now

    def pass_time(self, seconds: float) -> None:
        self._now += seconds
        for due in due_events(self.state, self._now):
            self._carry_out(decide(self.state, due, self._now))

    def cluster_token(self, cluster_id: str) -> str:
        return self.tokens.cluster_token(cluster_id)

    async def submit(self, event: Event) -> Reply:
        if self.hold_submits is not None:
            self.held += 1
            await self.hold_submits.wait()
        return self.tell(event)

    def tell(self, event: Event) -> Reply:
        if self.error is not None:
            raise self.error
        self.events.append(event)
        decision = decide(self.state, event, self._now)
        self._carry_out(decision)
        return decision.reply

    def _carry_out(self, decision: Decision) -> None:
        draft = self.books.draft(decision.changes)
        added(self.entered, draft.entries)
        self.books.take(draft)
        for observer in self._observers:
            observer(decision)
        for effect in decision.effects:
            if isinstance(effect, Answer) and effect.lease_id in self._listeners:
                listener = self._listeners.pop(effect.lease_id)
                if not listener.done():
                    listener.set_result(effect.reply)
            elif isinstance(effect, Stop):
                self.gone_clusters[effect.cluster_id] = self.state.clusters[effect.cluster_id]

    async def acquire(self, event: Acquire, wait_s: float) -> Granted | Queued | Rejected:
        reply = await self.submit(event)
        assert isinstance(reply, Granted | Queued | Rejected)
        if not isinstance(reply, Queued) or not wait_s:
            return reply
        waiter_id = reply.waiter.id
        listener = self._listeners.setdefault(waiter_id, asyncio.get_running_loop().create_future())
        try:
            async with asyncio.timeout(wait_s):
                return await asyncio.shield(listener)
        except TimeoutError:
            waiter = self.state.waiters.get(waiter_id)
            return self.explain_waiter(waiter) if waiter else reply

    def answer_early(self, waiter_id: str) -> None:
        """Have whoever listens for a waiter told where it stands."""
        self._listeners.pop(waiter_id).set_result(self.explain_waiter(self.state.waiters[waiter_id]))

    def check(self, key: ClusterKey) -> None:
        if key.shape.head.milli_cpu > 64_000:
            raise ShapeTooLarge(f"The head wants {key.shape.head.milli_cpu / 1000:g} cpus; this machine has 64.")

    def explain_waiter(self, waiter: Waiter) -> Queued:
        return queued(self.state, waiter, self._now)

    async def find_lease(self, lease_id: str) -> Lease | None:
        state = self.state
        return state.leases.get(lease_id) or state.ended.get(lease_id) or self.gone_leases.get(lease_id)

    async def find_cluster(self, cluster_id: str) -> Cluster | None:
        return self.state.clusters.get(cluster_id) or self.gone_clusters.get(cluster_id)

    async def history(self, since: float, until: float, after: tuple[float, str] | None, limit: int) -> list[Lease]:
        leases = [*self.gone_leases.values(), *self.state.ended.values(), *self.state.leases.values()]
        found = sorted(((x.asked_at, x.id), x) for x in leases if since <= x.asked_at < until)
        return [lease for place, lease in found if after is None or place > after][:limit]

    async def ledger(self, since_day: int, until_day: int, *, by_day: bool) -> Entries:
        found = added(entries(), self.entered, since_day, until_day, by_day=by_day)
        return added(found, self.books.unbooked(self._now), since_day, until_day, by_day=by_day)

    def start_all(self) -> None:
        """Every starting cluster becomes ready."""
        for cluster in list(self.state.clusters.values()):
            if cluster.state is ClusterState.STARTING:
                self.tell(Started(cluster.id, "boot", "127.0.0.1:6379", dashboard_url="http://127.0.0.1:8265"))

    def clean_all(self) -> None:
        """Every reset ends well, every stop ends."""
        for cluster in list(self.state.clusters.values()):
            if cluster.state is ClusterState.RESETTING:
                self.tell(ResetDone(cluster.id, cluster.epoch, clean=True))
            elif cluster.state is ClusterState.STOPPING:
                self.tell(Stopped(cluster.id))
                self.gone_clusters[cluster.id] = cluster._replace(state=ClusterState.STOPPED, changed_at=self._now)


async def until(condition: Any, what: str) -> None:
    """Wait until `condition()` holds, but not for ever."""
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - nothing tells that it holds
            await asyncio.sleep(0.005)
    assert condition(), what


class Reading:
    """An answer, read."""

    def __init__(self, status: int, headers: Any, text: str) -> None:
        self.status = status
        self.headers = headers
        self.text = text

    @property
    def json(self) -> Any:
        return json.loads(self.text)


class Http:
    """Asks the API with the tokens of its file."""

    def __init__(self, server: Server, session: aiohttp.ClientSession, tokens: dict[str, str]) -> None:
        self.server = server
        self.session = session
        self.tokens = tokens

    async def ask(
        self, method: str, path: str, body: Any = None, *, as_: str | None = "client", **more: Any
    ) -> Reading:
        headers = dict(more.pop("headers", {}))
        if as_:
            headers["Authorization"] = f"Bearer {self.tokens.get(as_, as_)}"
        if isinstance(body, bytes):
            more["data"] = io.BytesIO(body)
        elif body is not None:
            more["json"] = body
        async with self.session.request(method, self.server.url + path, headers=headers, **more) as answer:
            return Reading(answer.status, answer.headers, await answer.text())

    async def get(self, path: str, **more: Any) -> Reading:
        return await self.ask("GET", path, **more)

    async def post(self, path: str, body: Any = None, **more: Any) -> Reading:
        return await self.ask("POST", path, body, **more)

    async def acquire(self, request_id: str = "r-1", *, as_: str = "client", **fields: Any) -> Reading:
        return await self.post("/v1/leases", wish(request_id, **fields), as_=as_)

    async def granted(self, request_id: str = "r-1", **fields: Any) -> Json:
        answer = await self.acquire(request_id, **fields)
        assert answer.status == 200, answer.text
        assert answer.json["status"] == "granted", answer.text
        return answer.json  # type: ignore[no-any-return]


def wish(request_id: str = "r-1", *, tenant: str = TENANT, key: Json | None = None, **fields: Any) -> Json:
    return {
        "request_id": request_id,
        "key": {"image": "local", "tenant": tenant, **(key or {})},
        "holder": "demo/train-0",
        **fields,
    }


def proof(grant: Json, **changes: Any) -> Json:
    return {"token": grant["token"], "epoch": grant["epoch"], **changes}


@pytest.fixture
def hands() -> Hands:
    return Hands()


@pytest.fixture
def access(tmp_path: Path) -> Access:
    path = tmp_path / "tokens.yaml"
    made = Access.load_or_create(path)
    more = "".join(
        f"- {{name: {name}, token: {name}-of-sixteen-or-more, role: {role}, tenants: {tenants}}}\n"
        for name, role, tenants in (
            ("other", "client", "[other/*]"),
            ("narrow-operator", "operator", "[other/*]"),
            ("second", "client", "['*']"),
        )
    )
    path.write_text(path.read_text() + more)
    made.reload()
    return made


@pytest.fixture
async def http(hands: Hands, access: Access) -> AsyncIterator[Http]:
    registry = CollectorRegistry()
    Counter("grants", "Grants.", registry=registry).inc()
    server = await serve(create_app(hands, access, registry))
    tokens = {role.value: access.path.with_name(f"{role}.token").read_text().strip() for role in Role}
    tokens |= {name: f"{name}-of-sixteen-or-more" for name in ("other", "narrow-operator", "second")}
    async with aiohttp.ClientSession() as session:
        yield Http(server, session, tokens)
    await server.close()


@pytest.fixture
async def warm(http: Http, hands: Hands) -> Http:
    """The API with one idle cluster."""
    answer = await http.post("/v1/prewarm", {"key": wish()["key"]}, as_="operator")
    assert answer.status == 200, answer.text
    hands.start_all()
    return http

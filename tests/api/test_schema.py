"""The OpenAPI document: valid, complete, and kept by the server, as schemathesis finds out."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    ignored_auth,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from pool.access import Access
from pool.api.app import create_app, serve
from pool.api.openapi import document
from pool.api.routes import ROUTES
from pool.core.events import Acquire, Prewarm, Renew
from pool.core.key import key_from
from pool.core.model import Mode

from .conftest import Hands, Http, wish

DOCUMENT = json.loads(document(ROUTES))
KNOWN = {"leases": "l-1", "clusters": "", "pools": ""}


def populated() -> Hands:
    """A daemon with something of everything: an idle and a leased cluster, a live and an ended lease, a waiter."""
    hands = Hands()
    key = key_from(wish()["key"])
    hands.tell(Prewarm(key, 1))
    hands.start_all()

    def acquire(lease_id: str, mode: Mode = Mode.WAIT_OR_CREATE) -> None:
        until = hands.now() + 1e9
        hands.tell(Acquire(lease_id, "client", f"r-{lease_id}", key, "demo", "run-1", mode, until, until))

    acquire("l-1")
    hands.tell(Renew("l-1", 1))
    acquire("l-2", Mode.WAIT)
    KNOWN["pools"] = key.digest
    KNOWN["clusters"] = f"c-{key.digest}-1"
    return hands


class Running:
    """A server in a thread of its own."""

    def __init__(self, directory: Path) -> None:
        self._started = threading.Event()
        self._directory = directory
        self.url = ""
        self.token = ""
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)
        self._thread.start()
        assert self._started.wait(20)

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        access = Access.load_or_create(self._directory / "tokens.yaml")
        server = await serve(create_app(populated(), access))
        self.url = server.url
        self.token = (self._directory / "operator.token").read_text().strip()
        self._started.set()
        await self._stop.wait()
        await server.close()

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(20)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    made = Running(tmp_path_factory.mktemp("access"))
    yield made
    made.stop()


config = schemathesis.Config.from_dict({"generation": {"mode": "all", "allow-x00": False}})
schema = schemathesis.openapi.from_dict(DOCUMENT, config=config)
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    negative_data_rejection,
    unsupported_method,
    ignored_auth,
]


@schema.parametrize()
@settings(
    max_examples=8,
    derandomize=True,
    deadline=None,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_the_server_keeps_its_document(case: schemathesis.Case, running: Running) -> None:
    kind = case.path.split("/")[2] if case.path.startswith("/v1/") else ""
    if kind in KNOWN and "id" in (case.path_parameters or {}) and len(case.path_parameters["id"]) % 2:
        # Ids that exist are never guessed: half of the calls are given one.
        case.path_parameters["id"] = KNOWN[kind]
    if (
        isinstance(case.body, dict)
        and type(case.body.get("wait_s")) in (int, float)
        and 0 <= case.body["wait_s"] <= 300
    ):
        case.body["wait_s"] = 0
    case.call_and_validate(
        base_url=running.url, checks=CHECKS, headers={"Authorization": f"Bearer {running.token}"}, timeout=20
    )


def test_every_route_is_in_the_document_and_every_reference_leads_somewhere() -> None:
    documented = {(method.upper(), path) for path, item in DOCUMENT["paths"].items() for method in item}
    assert documented == {(route.method, route.path) for route in ROUTES} | {("GET", "/openapi.json")}
    names = set(DOCUMENT["components"]["schemas"])
    references = set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(DOCUMENT)))
    assert references <= names
    assert {"AcquireRequest", "GrantAnswer", "QueuedAnswer", "Problem", "LeaseView"} <= references


def test_operation_ids_are_unique_and_every_operation_says_what_it_does() -> None:
    operations = [operation for item in DOCUMENT["paths"].values() for operation in item.values()]
    assert len({operation["operationId"] for operation in operations}) == len(operations)
    for operation in operations:
        assert operation["summary"]
        assert operation["tags"][0] in {tag["name"] for tag in DOCUMENT["tags"]}


async def test_the_document_is_served(http: Http) -> None:
    assert (await http.get("/openapi.json", as_="")).json == DOCUMENT


async def test_the_page_needs_nothing_from_elsewhere(http: Http) -> None:
    page = await http.get("/docs", as_="")
    assert page.headers["Content-Type"].startswith("text/html")
    assert not re.findall(r"(?:src|href)=[\"']?(?:https?:)?//", page.text)
    policy = page.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    for tag in ("script", "style"):
        (text,) = re.findall(f"<{tag}>(.*?)</{tag}>", page.text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy

"""What Flyte's API is asked, and how its answers are taken: each answer is made of Flyte's own messages."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from structlog.testing import capture_logs

from pool.core.events import GroupEnded
from pool.holds.early import EarlyEnds, FlyteUnavailable, execution_of
from pool.holds.flyte import Flyte, FlyteAccess

URL = "http://flyteadmin.flyte"


def execution(phase: str) -> dict[str, Any]:
    """Return what Flyte 1's gateway says of an execution."""
    formats = pytest.importorskip("google.protobuf.json_format", reason="pip install 'warmpool[flyte]'")
    admin = pytest.importorskip("flyteidl.admin.execution_pb2", reason="pip install 'warmpool[flyte]'")
    core = pytest.importorskip("flyteidl.core.execution_pb2", reason="pip install 'warmpool[flyte]'")
    closure = admin.ExecutionClosure(phase=core.WorkflowExecution.Phase.Value(phase))
    said: dict[str, Any] = formats.MessageToDict(admin.Execution(closure=closure))
    return said


def run(phase: str) -> dict[str, Any]:
    """Return what Flyte 2's backend says of a run."""
    formats = pytest.importorskip("google.protobuf.json_format", reason="pip install 'warmpool[flyte2]'")
    service = pytest.importorskip("flyteidl2.workflow.run_service_pb2", reason="pip install 'warmpool[flyte2]'")
    answer = {"details": {"action": {"status": {"phase": phase}}}}
    said: dict[str, Any] = formats.MessageToDict(formats.ParseDict(answer, service.GetRunDetailsResponse()))
    return said


@dataclass
class Backend:
    """Answers as Flyte does.

    Attributes:
        answers: what it says by path.
        tokens: those that it takes, the last given out among them; none for everybody.
        asked: what it was asked.
    """

    answers: dict[str, Any] = field(default_factory=dict)
    tokens: list[str] = field(default_factory=list)
    asked: list[httpx.Request] = field(default_factory=list)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        if request.url.path == "/.well-known/oauth-authorization-server":
            return httpx.Response(200, json={"token_endpoint": f"{URL}/oauth2/token"})
        if request.url.path == "/oauth2/token":
            if request.headers["Authorization"] != f"Basic {base64.b64encode(b'me:s3cret').decode()}":
                return httpx.Response(401)
            self.tokens.append(f"token-{len(self.tokens)}")
            return httpx.Response(200, json={"access_token": self.tokens[-1], "expires_in": 3600})
        if self.tokens and request.headers.get("Authorization") != f"Bearer {self.tokens[-1]}":
            return httpx.Response(401)
        answer = self.answers.get(request.url.path)
        return httpx.Response(404) if answer is None else httpx.Response(200, json=answer)


@pytest.fixture
def backend() -> Backend:
    return Backend()


@pytest.fixture
async def flyte(backend: Backend) -> AsyncIterator[Flyte]:
    made = Flyte(FlyteAccess(URL), httpx.MockTransport(backend))
    yield made
    await made.close()


@pytest.mark.parametrize(
    ("phase", "ended"),
    [("QUEUED", False), ("RUNNING", False), ("SUCCEEDING", False), ("ABORTING", False)]
    + [(phase, True) for phase in ("SUCCEEDED", "FAILED", "ABORTED", "TIMED_OUT")],
)
async def test_an_execution_of_flyte_1_has_ended_when_nothing_follows(
    flyte: Flyte, backend: Backend, phase: str, ended: bool
) -> None:
    backend.answers["/api/v1/executions/flytesnacks/development/f0a1"] = execution(phase)
    assert await flyte.has_ended("flytesnacks", "development", "f0a1") is ended


@pytest.mark.parametrize(("phase", "ended"), [("RUNNING", False), ("PAUSED", False), ("SUCCEEDED", True)])
async def test_a_run_of_flyte_2_has_ended_when_nothing_follows(backend: Backend, phase: str, ended: bool) -> None:
    backend.answers["/flyteidl2.workflow.RunService/GetRunDetails"] = run(f"ACTION_PHASE_{phase}")
    flyte = Flyte(FlyteAccess(URL, version=2), httpx.MockTransport(backend))
    assert await flyte.has_ended("flytesnacks", "development", "r1") is ended
    asked = json.loads(backend.asked[0].content)
    formats = pytest.importorskip("google.protobuf.json_format", reason="pip install 'warmpool[flyte2]'")
    service = pytest.importorskip("flyteidl2.workflow.run_service_pb2", reason="pip install 'warmpool[flyte2]'")
    assert formats.ParseDict(asked, service.GetRunDetailsRequest()).run_id.name == "r1"
    await flyte.close()


async def test_what_flyte_does_not_know_may_go_on(flyte: Flyte) -> None:
    assert not await flyte.has_ended("flytesnacks", "development", "unknown")


@pytest.mark.parametrize("answer", [{}, {"closure": None}, {"closure": {}}, []])
async def test_an_answer_that_is_no_execution_says_nothing(flyte: Flyte, backend: Backend, answer: Any) -> None:
    backend.answers["/api/v1/executions/p/d/x"] = answer
    with pytest.raises(FlyteUnavailable, match="no execution of Flyte's"):
        await flyte.has_ended("p", "d", "x")


async def test_a_token_is_fetched_with_client_credentials_and_again_when_it_is_refused(
    backend: Backend, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("s3cret\n")
    secret.chmod(0o600)
    backend.tokens = ["none-yet"]
    backend.answers["/api/v1/executions/p/d/x"] = execution("SUCCEEDED")
    access = FlyteAccess(URL, client_id="me", client_secret_file=secret, scopes=("all",))
    flyte = Flyte(access, httpx.MockTransport(backend))
    assert await flyte.has_ended("p", "d", "x")
    assert await flyte.has_ended("p", "d", "x")
    assert [request.url.path for request in backend.asked].count("/oauth2/token") == 1
    # Flyte has other keys now.
    backend.tokens.append("another")
    assert await flyte.has_ended("p", "d", "x")
    secret.write_text("wrong")
    backend.tokens.append("another")
    with pytest.raises(FlyteUnavailable, match="authorization server answered 401") as refused:
        await flyte.has_ended("p", "d", "x")
    assert "wrong" not in str(refused.value)
    await flyte.close()


async def test_a_token_file_is_read_for_each_question(backend: Backend, tmp_path: Path) -> None:
    file = tmp_path / "token"
    backend.answers["/api/v1/executions/p/d/x"] = execution("FAILED")
    flyte = Flyte(FlyteAccess(URL, token_file=file), httpx.MockTransport(backend))
    for token in ("one", "two"):
        backend.tokens = [token]
        file.write_text(token)
        file.chmod(0o600)
        assert await flyte.has_ended("p", "d", "x")
    await flyte.close()


def test_only_a_group_of_a_flyte_backend_is_asked_after() -> None:
    assert execution_of("flytesnacks/development", "flytesnacks/development/f0a1") == "f0a1"
    for tenant, group in [
        ("flytesnacks/development", "local-123"),
        ("flytesnacks/development", "other/development/f0a1"),
        ("flytesnacks/development", "flytesnacks/development/"),
        ("flytesnacks/development", "flytesnacks/development/a/b"),
        ("team", "team/f0a1"),
    ]:
        assert execution_of(tenant, group) == ""


async def test_what_has_ended_is_told_and_a_flyte_that_does_not_answer_is_said_once() -> None:
    told: list[GroupEnded] = []

    class Known:
        down = False

        async def has_ended(self, project: str, domain: str, name: str) -> bool:
            if self.down:
                raise FlyteUnavailable("http://flyteadmin.flyte answered 503")
            return name == "over"

    async def submit(event: GroupEnded) -> None:
        told.append(event)

    known = Known()
    held = [("p/d", f"p/d/{name}") for name in ("over", "running")] + [("p/d", "local-1")]
    ends = EarlyEnds(known, lambda: held, submit)
    await ends.look()
    assert told == [GroupEnded("p/d", "p/d/over")]
    known.down = True
    with capture_logs() as logs:
        await ends.look()
        await ends.look()
    assert [row["log_level"] for row in logs] == ["warning"]
    assert "holds last their time: http://flyteadmin.flyte answered 503" in logs[0]["event"]
    known.down = False
    await ends.look()
    assert len(told) == 2

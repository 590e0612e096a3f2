"""The lease in Flyte 1's decks and Flyte 2's reports, as a task in a pod uploads them."""

from __future__ import annotations

import asyncio
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import flyte
import flyte.report
import flytekitplugins.ray as ray1
import flyteplugins.ray as ray2
import pytest
from flyte._internal.runtime import taskrunner
from flyte.models import ActionID, RawDataPath
from flytekit import Deck, task
from flytekit.bin.entrypoint import _dispatch_execute, setup_execution

from pool.core.model import Outcome
from pool.flyte import Pooled, Resident
from pool.flyte.deck import _OUTCOMES

DASHBOARD = "http://c-1-head-svc.team-dev.svc:8265"
COLD = {
    "outcome": "cold", "reason": "no_cluster", "waited_s": 12.3,
    "explanation": "Pool <gpu> had no cluster, and c-1 was started.",
}  # fmt: skip


class Text(HTMLParser):
    """What a browser would show and link of a page's tabs."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.links: list[str] = []
        self.feed(page.split("<body>", 1)[1].split("<script>", 1)[0])
        self.text = " ".join(" ".join(self.words).split())

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.links += [value or "" for name, value in attrs if name == "href"]


@pytest.fixture(autouse=True)
def _leased(daemon: Any, connections: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WARMPOOL_IMAGE", "a/b:c")
    for name, value in {"EXECUTION_PROJECT": "p", "EXECUTION_DOMAIN": "d", "EXECUTION_ID": "exec-1"}.items():
        monkeypatch.setenv(f"FLYTE_INTERNAL_{name}", value)
    for cluster in daemon.clusters:
        cluster["dashboard_url"] = DASHBOARD
    daemon.granted = dict(COLD)


def flyte1(folder: Path, body: Any, *, pooled: dict[str, Any] | None = None, **options: Any) -> Text | None:
    """Run a task of flytekit as its pod does; return what its deck shows, None if it has none."""
    config = ray1.RayJobConfig(worker_node_config=[ray1.WorkerNodeConfig(group_name="w", replicas=1)])
    entity = task(task_config=Pooled(config, **(pooled or {})), **options)(body)
    inputs, out = folder / "inputs.pb", folder / "out"
    folder.mkdir(exist_ok=True)
    inputs.touch()
    with setup_execution(str(folder / "raw"), output_metadata_prefix=str(out)) as ctx:
        _dispatch_execute(ctx, lambda: entity, str(inputs), str(out))
    deck = out / "deck.html"
    # What the backend is told at registration, so that it offers the deck.
    assert entity.enable_deck == deck.exists()
    return Text(deck.read_text()) if deck.exists() else None


async def flyte2(folder: Path, body: Any, *, pooled: dict[str, Any] | None = None, **options: Any) -> Text | None:
    """Run a task of Flyte 2 as its pod does; return what its report shows, None if it has none."""
    await asyncio.to_thread(folder.mkdir, exist_ok=True)
    config = ray2.RayJobConfig(worker_node_config=[ray2.WorkerNodeConfig(group_name="w", replicas=1)])
    env = flyte.TaskEnvironment(name="shown", plugin_config=Pooled(config, **(pooled or {})))
    await taskrunner.convert_and_run(
        task=env.task(**options)(body), action=ActionID(name="a1", run_name="run-1", project="p", domain="d", org="o"),
        controller=None, raw_data_path=RawDataPath(path=str(folder)), version="v", output_path=str(folder),
        run_base_dir=str(folder),
    )  # fmt: skip
    report = folder / "report.html"
    return Text(report.read_text()) if report.exists() else None


def fine() -> None:
    """A body that has nothing to say."""


def broken() -> None:
    raise KeyError("the body is broken")


def with_a_tab_of_its_own() -> None:
    Deck("mine", "what the body shows")


async def fine2() -> None:
    """A body that has nothing to say."""


def hands_over() -> Resident[set]:
    return Resident({1})


async def broken2() -> None:
    raise KeyError("the body is broken")


async def with_a_line_of_its_own() -> None:
    await flyte.report.log.aio("what the body shows")


def assert_shows_the_lease(shown: Text | None) -> None:
    assert shown is not None
    assert "Waited for a cluster to start: granted after 12.3 s." in shown.text
    # As text, not as markup.
    assert "Pool <gpu> had no cluster, and c-1 was started. ( no_cluster )" in shown.text
    assert "Lease l-" in shown.text
    assert "p/d/" in shown.text
    assert "kubectl port-forward -n team-dev service/c-1-head-svc 8265" in shown.text
    assert shown.links == [DASHBOARD, "http://127.0.0.1:8265"]
    assert "secret" not in shown.text


@pytest.mark.parametrize("body", [fine, broken])
def test_a_flyte_1_task_shows_its_lease_also_when_it_fails(tmp_path: Path, body: Any) -> None:
    shown = flyte1(tmp_path, body)
    assert_shows_the_lease(shown)
    assert (tmp_path / "out" / "error.pb").exists() == (body is broken)


@pytest.mark.parametrize("body", [fine2, broken2])
async def test_a_flyte_2_task_shows_its_lease_also_when_it_fails(tmp_path: Path, body: Any) -> None:
    assert_shows_the_lease(await flyte2(tmp_path, body))


async def test_the_lease_stands_beside_what_the_body_shows(tmp_path: Path) -> None:
    one = flyte1(tmp_path / "1", with_a_tab_of_its_own, enable_deck=True, deck_fields=())
    two = await flyte2(tmp_path / "2", with_a_line_of_its_own, report=True)
    for shown in (one, two):
        assert_shows_the_lease(shown)
        assert shown is not None
        assert "what the body shows" in shown.text


def test_what_handing_values_over_took_stands_beside_the_lease(tmp_path: Path) -> None:
    shown = flyte1(tmp_path, hands_over)
    assert_shows_the_lease(shown)
    assert shown is not None
    # No cluster was there to keep it.
    assert re.search(r"Handed over in (\d\.\d{3}) s Of that, Flyte's copies \1 s", shown.text)


async def test_a_refusal_is_shown_where_the_lease_would_be(tmp_path: Path, daemon: Any) -> None:
    daemon.refusal = "queue_full"
    for shown in (flyte1(tmp_path / "1", fine), await flyte2(tmp_path / "2", fine2)):
        assert shown is not None
        assert "No cluster was leased." in shown.text
        assert "queue_full" in shown.text


async def test_nothing_is_shown_to_who_does_not_want_it(tmp_path: Path) -> None:
    assert flyte1(tmp_path / "1", fine, pooled={"deck": False}) is None
    assert flyte1(tmp_path / "2", fine, enable_deck=False) is None
    assert await flyte2(tmp_path / "3", fine2, pooled={"deck": False}) is None
    own = flyte1(tmp_path / "4", with_a_tab_of_its_own, pooled={"deck": False}, enable_deck=True, deck_fields=())
    assert own is not None
    assert "what the body shows" in own.text
    assert "l-1" not in own.text


def test_a_hit_gives_no_reason(tmp_path: Path, daemon: Any) -> None:
    daemon.granted = {"group_was_here": True}
    for cluster in daemon.clusters:
        cluster["dashboard_url"] = "javascript:alert(1)"
    shown = flyte1(tmp_path, fine)
    assert shown is not None
    assert "A warm cluster was idle: granted after 0.001 s." in shown.text
    assert "no hit" not in shown.text
    assert "its previous lease was of this very cluster" in shown.text
    # What is no address of the web is shown, and is no link.
    assert (shown.links, "javascript:alert(1)" in shown.text) == ([], True)


def test_each_outcome_is_told_in_words() -> None:
    assert set(_OUTCOMES) == set(Outcome)

"""The page's way from an empty cluster to a leased Flyte task, its commands run as they are written there."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import yaml

from pool.kube.api import CORE, Api
from tests.kube.flyte import TASK_IMAGE, WITHOUT
from tests.kube.release import DAEMON, NEEDS, helm

pytestmark = [
    pytest.mark.kube,
    pytest.mark.timeout(300),
    NEEDS,
    pytest.mark.skipif(not TASK_IMAGE, reason=WITHOUT),
]

ROOT = Path(__file__).parents[2]
NAMESPACES = ("warmpool", "vision-development")  # as the page names them


def section(title: str) -> str:
    text = (ROOT / "docs" / "kubernetes.md").read_text()
    return text.split(f"\n## {title}\n", 1)[1].split("\n## ", 1)[0]


def commands(text: str) -> list[str]:
    return re.findall(r"^```sh\n(.*?)^```", text, re.S | re.M)


def file(text: str, name: str) -> str:
    """Return the block that the text calls by a file's name."""
    found = re.search(rf"`{re.escape(name)}`:\n\n```yaml\n(.*?)^```", text, re.S | re.M)
    assert found is not None, name
    return found[1]


@pytest.fixture
async def empty(api: Api) -> AsyncIterator[None]:
    """Have none of the page's namespaces, before and after."""
    there = {item["metadata"]["name"] for item in (await api.get(f"{CORE}/namespaces"))["items"]}
    if taken := there & set(NAMESPACES):
        pytest.skip(f"this Kubernetes has a namespace {taken.pop()} already, which the page makes")
    yield
    await helm("uninstall", "warmpool", "--namespace", "warmpool", "--ignore-not-found", "--wait")
    for name in NAMESPACES:
        await api.delete(f"{CORE}/namespaces/{name}")


async def test_the_way_from_an_empty_cluster_to_a_leased_flyte_task_is_as_the_page_says(
    empty: None, api: Api, tmp_path: Path
) -> None:
    text = section("From an empty cluster to a leased Flyte task")
    build, install, ask = commands(text)
    assert "docker build" in build  # where the images come from is the test's environment
    repository, _, tag = DAEMON.rpartition(":")
    # Not every Kubernetes has storage to give.
    here = {"image": {"repository": repository, "tag": tag}, "persistence": {"enabled": False}}
    (tmp_path / "values.yaml").write_text(yaml.safe_dump(yaml.safe_load(file(text, "values.yaml")) | here))
    (tmp_path / "try.yaml").write_text(file(text, "try.yaml").replace("warmpool-task:0.1.0", TASK_IMAGE))
    (tmp_path / "deploy").symlink_to(ROOT / "deploy")
    assert "Phase:          Succeeded" in await run(install, tmp_path)
    said = await run(ask, tmp_path)
    granted = re.search(r"^granted (c-\S+) cold$", said, re.M)
    assert granted is not None, said
    assert re.search(r"^result 140$", said, re.M), said
    # What the task left is removed meanwhile.
    assert re.search(rf"^{granted[1]} .* (idle|resetting) ", said, re.M), said


async def run(script: str, where: Path) -> str:
    """Run a block of commands as a person would, one after the other.

    Raises:
        AssertionError: if one fails.
    """
    process = await asyncio.create_subprocess_exec(
        "bash", "-euxc", script, cwd=where, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    out, _ = await process.communicate()
    assert process.returncode == 0, out.decode()
    return out.decode()

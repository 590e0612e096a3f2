from __future__ import annotations

import pytest

from pool.core.errors import InvalidKey
from pool.flyte.identity import Identity, local_identity, remote_identity, request_id


def remote(**changes: str) -> Identity:
    fields = {
        "project": "fs", "domain": "dev", "execution": "r1", "task": "m.t", "attempt": "0", "place": "s3://b/r1-n0-0",
        "image": "repo/img:1",
    }  # fmt: skip
    return remote_identity(**(fields | changes))


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WARMPOOL_GROUP", "WARMPOOL_IMAGE", "WARMPOOL_TENANT", "FLYTE_INTERNAL_IMAGE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("BATCH_JOB_ARRAY_INDEX_VAR_NAME", raising=False)


def test_tenant_and_group_are_project_domain_and_execution() -> None:
    who = remote()
    assert (who.tenant, who.group, who.image) == ("fs/dev", "fs/dev/r1", "repo/img:1")
    assert who.holder == "fs/dev/r1/m.t/0"


def test_a_container_started_again_asks_the_same_and_in_the_same_order() -> None:
    assert [request_id(remote(), n) for n in (1, 2)] == [request_id(remote(), n) for n in (1, 2)]
    assert request_id(remote(), 1) != request_id(remote(), 2)


@pytest.mark.parametrize("change", ["attempt", "place", "task", "execution", "project", "domain"])
def test_whatever_tells_two_attempts_apart_gives_another_request_id(change: str) -> None:
    assert request_id(remote(), 1) != request_id(remote(**{change: "other"}), 1)


def test_elements_of_a_map_task_ask_for_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BATCH_JOB_ARRAY_INDEX_VAR_NAME", "FLYTE_K8S_ARRAY_INDEX")
    ids = set()
    for index in "012":
        monkeypatch.setenv("FLYTE_K8S_ARRAY_INDEX", index)
        ids.add(request_id(remote(), 1))
        assert remote().holder == f"fs/dev/r1/m.t[{index}]/0"
    assert len(ids) == 3


def test_locally_every_ask_is_new_and_the_process_is_one_group() -> None:
    one, other = local_identity("a"), local_identity("b")
    assert one.group == other.group != ""
    assert request_id(one, 1) != request_id(one, 1)
    assert (one.tenant, one.image) == ("local/development", "local")


def test_the_environment_overrides_what_is_derived(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GROUP", "IMAGE", "TENANT"):
        monkeypatch.setenv(f"WARMPOOL_{name}", name.lower())
    who = local_identity("t", "run")
    assert (who.group, who.image, who.tenant) == ("group", "image", "tenant")
    assert remote(image="").image == "image"


def test_a_group_that_is_asked_for_wins() -> None:
    assert remote().with_group("mine").group == "mine"
    assert remote().with_group("").group == "fs/dev/r1"


def test_an_unknown_image_is_one_clear_error() -> None:
    with pytest.raises(InvalidKey, match=r"key\.image.*WARMPOOL_IMAGE"):
        remote(image="")

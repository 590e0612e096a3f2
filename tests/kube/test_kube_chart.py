"""The chart on a real cluster: installed, tested, upgraded and rolled back under leases, uninstalled."""

from __future__ import annotations

import asyncio
import base64
import json
import os
from typing import Any

import pytest
import yaml

from pool.kube.api import CORE, RAY
from pool.kube.remove import remove
from tests.kube.kit import cluster_of, small
from tests.kube.release import CHART, NEEDS, HelmError, helm, until_it_holds

# Of a next version: docker build -f tests/next/Dockerfile, with this one's image.
NEXT = os.environ.get("WARMPOOL_TEST_NEXT_IMAGE", "")

pytestmark = [pytest.mark.kube, pytest.mark.timeout(400), NEEDS]


async def test_a_release_lives_through_upgrade_and_rollback_under_leases_and_is_taken_over_by_the_next(lasting_release):
    release = lasting_release
    await release.install()
    assert "Phase:          Succeeded" in await release.helm("test")

    # A lease, and a waiter behind it, through an upgrade to a version that migrates the store, and back again.
    await release.task("first")
    await release.until_said("first", "granted")
    await release.task("second")
    await release.until_said("second", "waits")
    cluster = await release.clusters()
    before = await release.daemon()
    # Without an image of a next version, what a daemon cannot change while it runs restarts it.
    await release.install(**({"image": NEXT} if NEXT else {"reconcile_interval": "4s"}))
    restarted = await release.daemon()
    assert restarted["metadata"]["uid"] != before["metadata"]["uid"]
    await release.helm("rollback", "1", "--wait")
    if NEXT:
        assert "which can use it" in await release.daemon_said()
    await release.finish("first")
    await release.until_said("second", "granted")
    assert await release.clusters() == cluster, await release.daemon_said()

    # A change that the daemon takes up by itself; an annotation makes the kubelet look at once.
    before = await release.daemon()
    await release.install(defaults={"idle_ttl": "7m"})
    pod = await release.daemon()
    assert pod["metadata"]["uid"] == before["metadata"]["uid"]
    touch = {"metadata": {"annotations": {"tests": "look"}}}
    await release.api.patch(f"{CORE}/namespaces/{release.namespace}/pods/{pod['metadata']['name']}", touch)

    async def reloaded() -> bool:
        return "the configuration was reloaded" in await release.daemon_said()

    await until_it_holds(reloaded, 120)
    await release.finish("second")

    # Uninstalled with its clusters kept, and installed again: the next daemon takes them over.
    await release.helm("uninstall", "--wait")
    assert await release.clusters() == cluster
    await release.install(uninstall="delete")
    await release.task("third")
    said = await release.until_said("third", "granted")
    assert "hit" in said
    assert await release.clusters() == cluster
    await release.finish("third")
    await release.helm("uninstall", "--wait")

    async def gone() -> bool:
        return not await release.clusters()

    await until_it_holds(gone, 30)


async def test_the_chart_is_linted_and_its_schema_names_what_is_wrong(tmp_path):
    assert "0 chart(s) failed" in await helm("lint", str(CHART), "--strict")
    for setting, said in (
        ("persistance.enabled=false", "persistance"),
        ("clustersOnUninstall=drop", "clustersOnUninstall"),
        ("service.port=http", "port"),
        ("config.state_dir=/tmp", "state_dir"),
        ("config.backend.type=local", "type"),
        ("replicas=2", "urlSecret"),
        ("config.store.url=postgresql://user:password@host/database", "url"),
        ("config.tokens_dir=/tmp", "tokens_dir"),
    ):
        with pytest.raises(HelmError, match=said):
            await helm("template", "x", str(CHART), "--kube-version", "1.30", "--set", setting)


async def rules(*settings: str) -> list[dict[str, Any]]:
    text = await helm("template", "x", str(CHART), "--namespace", "n", "--kube-version", "1.30", *settings)
    return [item for item in yaml.safe_load_all(text) if item]


async def test_a_namespace_takes_a_role_there_and_a_template_of_them_one_for_all():
    for settings, kind, namespace in (
        ((), "Role", "n"),
        (("--set", "config.backend.namespace=rays"), "Role", "rays"),
        (("--set-json", 'config.backend.namespace="{project}-{domain}"'), "ClusterRole", None),
    ):
        (role,) = (
            item
            for item in await rules(*settings)
            if item["kind"].endswith("Role") and "clusters" in str(item["metadata"])
        )
        assert (role["kind"], role["metadata"].get("namespace")) == (kind, namespace)


async def test_with_postgresql_replicas_share_tokens_and_no_secret_is_in_the_configuration():
    shared = ("--set", "postgres.urlSecret.name=store", "--set", "replicas=2", "--set", "dashboard.enabled=false")
    made = {item["kind"]: item for item in await rules(*shared) if item["metadata"]["name"].startswith("x-warmpool")}
    assert {"tokens.key", "tokens.yaml", "operator.token"} <= set(made["Secret"]["data"])
    assert len(base64.b64decode(made["Secret"]["data"]["tokens.key"])) == 64
    config = yaml.safe_load(made["ConfigMap"]["data"]["warmpool.yaml"])
    assert config["store"] == {"url_file": "/etc/warmpool-store/url"}
    assert config["tokens_dir"] == "/etc/warmpool-tokens"
    assert made["Deployment"]["spec"]["replicas"] == 2
    assert "PersistentVolumeClaim" not in made
    given = {item["kind"] for item in await rules(*shared, "--set", "tokens.existingSecret=mine")}
    assert "Secret" not in given
    alone = {item["kind"]: item for item in await rules()}
    assert alone["Deployment"]["spec"]["strategy"] == {"type": "Recreate"}
    assert "warmpool.io/role" not in alone["Service"]["spec"]["selector"]
    assert "Secret" not in alone


async def test_only_what_a_daemon_cannot_change_while_it_runs_restarts_it():
    async def restart(*settings: str) -> str:
        (made,) = (item for item in await rules(*settings) if item["kind"] == "Deployment")
        return str(made["spec"]["template"]["metadata"]["annotations"]["warmpool.io/restart"])

    usual = await restart()
    assert await restart("--set", "config.defaults.idle_ttl=7m") == usual
    assert await restart("--set", "config.reconcile_interval=4s") != usual


async def test_what_watches_is_made_where_its_kinds_exist():
    assert not {"ServiceMonitor", "PrometheusRule"} & {item["kind"] for item in await rules()}
    settings = ("--api-versions", "monitoring.coreos.com/v1", "--set", "prometheusRule.runbooks=https://wiki/")
    made = {item["kind"]: item for item in await rules(*settings)}
    alerts = [rule for group in made["PrometheusRule"]["spec"]["groups"] for rule in group["rules"] if "alert" in rule]
    assert all(alert["annotations"]["runbook_url"].startswith("https://wiki/docs/operating.md#") for alert in alerts)
    assert any("{{ $value" in str(alert["annotations"]) for alert in alerts)
    assert made["ServiceMonitor"]["spec"]["endpoints"][0]["port"] == "http"


async def test_the_rights_are_what_the_daemon_asks_for_neither_more_nor_less(backend, asked):
    asked.clear()
    # Two of one store, as when a daemon is killed and the next one begins where it was.
    one, two = (type(backend)(backend.options) for _ in range(2))
    cluster = cluster_of(small(workers=0))
    for each in (one, two):
        await each.open("0123456789abcdef", lambda cluster_id: f"token-of-{cluster_id}-{'x' * 20}", lambda lost: None)
    try:
        started = [each.start(cluster, small(workers=0), lambda phase: None) for each in (one, two)]
        first, second = await asyncio.gather(*started)
        assert first.boot_id == second.boot_id
    finally:
        await one.close()
        await two.close()
    late = type(backend)(backend.options)
    await late.open("0123456789abcdef", lambda cluster_id: f"token-of-{cluster_id}-{'x' * 20}", lambda lost: None)
    try:
        await late.grow(cluster._replace(boot_id=first.boot_id, resizes=1), small(workers=0), lambda phase: None)
        await late.stop(cluster.id)
    finally:
        await late.close()
    (role,) = (item for item in await rules() if item["kind"] == "Role")
    given = {(r, v) for rule in role["rules"] for r in rule["resources"] for v in rule["verbs"]}
    assert asked == given, json.dumps({"missing": sorted(asked - given), "unneeded": sorted(given - asked)})


async def test_what_a_label_takes_is_deleted_and_what_is_not_ours_only_counted(api, namespace, backend):
    spec = {
        "headGroupSpec": {"rayStartParams": {}, "template": {"spec": {"containers": [{"name": "r", "image": "x"}]}}}
    }
    path = f"{RAY}/namespaces/{namespace}/rayclusters"
    for name, mark in (("mine", namespace), ("other", "somebody")):
        labels = {"warmpool.io/release": mark}
        body = {"apiVersion": "ray.io/v1", "kind": "RayCluster", "metadata": {"name": name, "labels": labels}}
        await api.create(path, {**body, "spec": spec})

    async def counted(number: int) -> bool:
        return (await backend.list()).foreign == number

    await until_it_holds(lambda: counted(2), 20)
    assert await remove(f"warmpool.io/release={namespace}") == 1

    async def gone() -> bool:
        return [item["metadata"]["name"] for item in (await api.get(path))["items"]] == ["other"] and await counted(1)

    await until_it_holds(gone, 20)

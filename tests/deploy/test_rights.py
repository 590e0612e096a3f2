"""The rights that the chart gives: those of the documents' one table. What is asked with them, tests/kube looks at."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

from pool.kube import review

ROOT = Path(__file__).parents[2]
ALL = ("--set", "postgres.urlSecret.name=s", "--set", "clustersOnUninstall=delete")
CONNECTOR = ("--set", "connector.enabled=true", "--set-json", 'connector.from=[{"podSelector": {"a": "b"}}]')

pytestmark = pytest.mark.skipif(not shutil.which("helm"), reason="needs helm: https://helm.sh/docs/intro/install")


def roles(*settings: str) -> dict[str, list[dict[str, Any]]]:
    """Return the rules of every role of the chart, hooks included, by the role's name."""
    command = ["helm", "template", "x", str(ROOT / "deploy" / "chart"), "-n", "n", "--kube-version", "1.30", *settings]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    made = [item for item in yaml.safe_load_all(done.stdout) if item]
    return {item["metadata"]["name"]: item["rules"] for item in made if item["kind"] in ("Role", "ClusterRole")}


def rights(rules: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """Return resources as ``name.group``, each with its verbs."""
    return [
        (".".join(filter(None, (resource, group))), ", ".join(rule["verbs"]))
        for rule in rules
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    ]


def documented() -> list[tuple[str, str]]:
    page = (ROOT / "docs" / "kubernetes.md").read_text().split("\n## What the daemon may do\n", 1)[1]
    table = page.split("\n## ", 1)[0]
    return re.findall(r"^\| `([a-z0-9.]+)` \| ([a-z, ]+) \|", table, re.M)


@pytest.mark.parametrize("connector", [(), CONNECTOR], ids=["alone", "with the connector"])
def test_the_table_lists_every_right_that_the_chart_gives_and_no_other(connector: tuple[str, ...]) -> None:
    given = [right for rules in roles(*ALL, *connector).values() for right in rights(rules)]
    assert Counter(given) == Counter(documented())


def test_callers_are_reviewed_with_the_two_rights_there_are_for_it() -> None:
    asked = {path.rpartition("/")[2] for path in (review._TOKEN_REVIEWS, review._ACCESS_REVIEWS)}
    given = rights(roles()["n:x-warmpool:reviews"])
    assert {resource.partition(".")[0] for resource, _ in given} == asked
    assert {verbs for _, verbs in given} == {"create"}


def test_no_rule_names_everything() -> None:
    for rules in roles(*ALL, *CONNECTOR, "--set-json", 'config.backend.namespace="{project}-{domain}"').values():
        for rule in rules:
            assert "*" not in [*rule["apiGroups"], *rule["resources"], *rule["verbs"]]

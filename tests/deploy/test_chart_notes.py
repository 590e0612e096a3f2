"""What the chart tells whoever installs it: no cluster is asked."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

CHART = Path(__file__).parents[2] / "deploy" / "chart"
WATCHED = ("--api-versions", "monitoring.coreos.com/v1")
SHARED = ("--set", "postgres.urlSecret.name=s")

pytestmark = pytest.mark.skipif(not shutil.which("helm"), reason="needs helm: https://helm.sh/docs/intro/install")


@pytest.fixture(scope="module")
def chart(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The chart with its notes as an object: helm shows them only of a real install."""
    copy = tmp_path_factory.mktemp("chart") / "warmpool"
    shutil.copytree(CHART, copy)
    notes = copy / "templates" / "NOTES.txt"
    text = f'{{{{- define "notes" }}}}{notes.read_text()}{{{{ end }}}}\nnotes: {{{{ include "notes" . | toJson }}}}\n'
    notes.with_name("notes.yaml").write_text(text)
    notes.unlink()
    return copy


def notes(chart: Path, *settings: str) -> str:
    command = ["helm", "template", "x", str(chart), "-n", "n", "--kube-version", "1.30", *settings]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    (said,) = (item["notes"] for item in yaml.safe_load_all(done.stdout) if item and "notes" in item)
    return str(said)


def test_they_say_where_it_answers_and_that_nobody_may_ask_yet(chart: Path) -> None:
    assert "http://x-warmpool.n.svc:8787" in notes(chart)
    assert "so no pod may ask" in notes(chart)
    rule = ("--set-json", 'config.access.kubernetes.namespaces=[{"match": "{project}-{domain}"}]')
    assert "so no pod may ask" not in notes(chart, *rule)


def test_they_say_what_is_left_behind_where_nothing_is_kept(chart: Path) -> None:
    off = ("--set", "persistence.enabled=false")
    assert "kubectl get rayclusters -A -l warmpool.io/release=n.x" in notes(chart, *off)
    for kept in ((), SHARED, (*SHARED, *off)):
        assert "RayClusters of the one before" not in notes(chart, *kept)


def test_they_say_how_prometheus_gets_a_token_where_it_has_none(chart: Path) -> None:
    assert "serviceMonitor.tokenSecret.name=x-warmpool-metrics" in notes(chart, *WATCHED)
    assert "of your tokens.yaml" in notes(chart, *WATCHED, *SHARED, "--set", "tokens.existingSecret=mine")
    given = ("--set", "serviceMonitor.tokenSecret.name=given")
    for settings in ((), (*WATCHED, *SHARED), (*WATCHED, *given), (*WATCHED, "--set", "serviceMonitor.enabled=false")):
        assert "Prometheus has no token" not in notes(chart, *settings)
